"""GLSL for the asset renderer: diffuse light fixed in the world, sRGB in and out, two-sided; and the pass that resolves samples.

Both programs are compiled in variants: a `#define` for each thing a draw needs, so that none pays for what it has not.
"""

from __future__ import annotations

BLEND_SURFACE_ALPHA = 0.05
"""Blended fragments fainter than this are no surface: they give no depth, normal or flow."""

SURFACE_TOLERANCE = 0.02
"""Samples of a pixel up to this fraction farther than the nearest one belong to its surface."""

VERTEX = """
uniform mat4 matrix;
in vec3 position;
in vec3 normal;
in vec2 uv;
in vec4 color;
out vec3 world;
out vec3 world_normal;
out vec2 tex;
out vec4 tint;
#ifdef FLOW
in vec3 displacement;
out vec3 moved;
#endif
void main() {
    world = position;
    world_normal = normal;
    tex = uv;
    tint = color;
#ifdef FLOW
    moved = displacement;
#endif
    gl_Position = matrix * vec4(position, 1.0);
}
"""

FRAGMENT = """
uniform sampler2D base;
uniform sampler2D glow;
uniform vec3 emissive;
uniform vec3 eye;
uniform bool unlit;
uniform int alpha_mode;
uniform float cutoff;
uniform vec3 sky;
uniform vec3 ground;
uniform vec3 key_direction;
uniform vec3 key;
uniform vec3 fill_direction;
uniform vec3 fill;
uniform vec3 harmonics[9];
in vec3 world;
in vec3 world_normal;
in vec2 tex;
in vec4 tint;
#ifdef COLOR
layout(location = 0) out vec4 result;
#endif
#ifdef NORMALS
layout(location = NORMALS) out vec4 facing;
#endif
#ifdef FLOW
in vec3 moved;
layout(location = FLOW) out vec4 flow;
#endif

vec3 to_linear(vec3 c) { return mix(c / 12.92, pow((c + 0.055) / 1.055, vec3(2.4)), step(0.04045, c)); }
vec3 to_srgb(vec3 c) { return mix(c * 12.92, 1.055 * pow(c, vec3(1.0 / 2.4)) - 0.055, step(0.0031308, c)); }

vec3 light(vec3 n) {
    vec3 sum = mix(ground, sky, 0.5 + 0.5 * n.z) + key * max(dot(n, key_direction), 0.0)
             + fill * max(dot(n, fill_direction), 0.0);
#ifdef HARMONICS
    sum += harmonics[0] + harmonics[1] * n.y + harmonics[2] * n.z + harmonics[3] * n.x + harmonics[4] * n.x * n.y
         + harmonics[5] * n.y * n.z + harmonics[6] * (3.0 * n.z * n.z - 1.0) + harmonics[7] * n.x * n.z
         + harmonics[8] * (n.x * n.x - n.y * n.y);
    sum = max(sum, vec3(0.0));
#endif
    return sum;
}

void main() {
#ifdef TEXTURED
    vec4 t = texture(base, tex);
    vec4 c = vec4(to_linear(t.rgb), t.a) * tint;
#else
    vec4 c = tint;
#endif
    float alpha = alpha_mode == 0 ? 1.0 : c.a;
    if (alpha_mode == 1) {
        if (alpha < cutoff) discard;
        alpha = 1.0;
    }
#ifdef SURFACE_ALPHA
    if (alpha < SURFACE_ALPHA) discard;
#endif
    vec3 n = normalize(world_normal + vec3(1e-6));
    if (dot(n, eye - world) < 0.0) n = -n;
#ifdef COLOR
    vec3 lit = c.rgb;
    if (!unlit) {
        lit *= light(n);
#ifdef GLOWING
        lit += emissive;
#endif
#ifdef GLOW_TEXTURED
        lit += emissive * to_linear(texture(glow, tex).rgb);
#endif
    }
    result = vec4(to_srgb(clamp(lit, 0.0, 1.0)) * alpha, alpha);
#endif
    // An alpha of 1 lets these pass through the blending that colours need.
#ifdef NORMALS
    facing = vec4(n, 1.0);
#endif
#ifdef FLOW
    flow = vec4(moved, 1.0);
#endif
}
"""

SCREEN = """
in vec2 corner;
void main() { gl_Position = vec4(corner, 0.0, 1.0); }
"""

RESOLVE = """
uniform sampler2D colors;
uniform sampler2D opaque;
layout(location = 0) out vec4 color;
#ifdef DEPTH
uniform vec2 range;
layout(location = DEPTH) out float depth;
#endif
#ifdef BLENDED
uniform sampler2D blended;
#endif
#ifdef NORMALS
uniform sampler2D normals;
layout(location = NORMALS) out vec4 normal;
#ifdef BLENDED
uniform sampler2D blended_normals;
#endif
#endif
#ifdef FLOW
uniform sampler2D flows;
layout(location = FLOW) out vec4 flow;
#ifdef BLENDED
uniform sampler2D blended_flows;
#endif
#endif

void main() {
    ivec2 first = ivec2(gl_FragCoord.xy) * SAMPLES;
    vec4 sum = vec4(0.0);
    for (int i = 0; i < SAMPLES * SAMPLES; i++)
        sum += texelFetch(colors, first + ivec2(i % SAMPLES, i / SAMPLES), 0);
    sum = round(sum * 255.0);
    float count = float(SAMPLES * SAMPLES);
    // Rounded here, in whole numbers, so that every driver stores the same bytes.
    color = vec4(floor(min(sum.rgb * 255.0 / max(sum.a, 1.0) + 0.5, 255.0)), floor((sum.a + floor(count / 2.0)) / count)) / 255.0;
#ifdef DEPTH
    float z[SAMPLES * SAMPLES];
    bool through[SAMPLES * SAMPLES];
    float nearest = 1e9;
    for (int i = 0; i < SAMPLES * SAMPLES; i++) {
        ivec2 at = first + ivec2(i % SAMPLES, i / SAMPLES);
        float stored = texelFetch(opaque, at, 0).r;
        through[i] = false;
#ifdef BLENDED
        if (stored >= 1.0) {
            through[i] = true;
            stored = texelFetch(blended, at, 0).r;
        }
#endif
        z[i] = stored < 1.0 ? range.x * range.y / (range.y - stored * (range.y - range.x)) : 1e9;
        nearest = min(nearest, z[i]);
    }
    float total = 0.0, kept = 0.0;
#ifdef NORMALS
    vec3 n = vec3(0.0);
#endif
#ifdef FLOW
    vec3 f = vec3(0.0);
#endif
    if (nearest < 1e8) for (int i = 0; i < SAMPLES * SAMPLES; i++) {
        if (z[i] > nearest * (1.0 + TOLERANCE)) continue;
        ivec2 at = first + ivec2(i % SAMPLES, i / SAMPLES);
        total += z[i];
        kept += 1.0;
#ifdef NORMALS
#ifdef BLENDED
        n += through[i] ? texelFetch(blended_normals, at, 0).xyz : texelFetch(normals, at, 0).xyz;
#else
        n += texelFetch(normals, at, 0).xyz;
#endif
#endif
#ifdef FLOW
#ifdef BLENDED
        f += through[i] ? texelFetch(blended_flows, at, 0).xyz : texelFetch(flows, at, 0).xyz;
#else
        f += texelFetch(flows, at, 0).xyz;
#endif
#endif
    }
    depth = total / max(kept, 1.0);
#ifdef NORMALS
    normal = vec4(n / max(length(n), 1e-6), 1.0);
#endif
#ifdef FLOW
    flow = vec4(f / max(kept, 1.0), 1.0);
#endif
#endif
}
"""


def source(text: str, defines: dict[str, object]) -> str:
    """GLSL 3.30 with `defines` in front."""
    return "#version 330\n" + "".join(f"#define {name} {value}\n" for name, value in defines.items()) + text
