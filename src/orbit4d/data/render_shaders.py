"""GLSL for the asset renderer: diffuse light fixed in the world (sky, ground, key, fill), sRGB in and out, two-sided."""

VERTEX = """
#version 330
uniform mat4 matrix;
in vec3 position;
in vec3 normal;
in vec2 uv;
in vec4 color;
out vec3 world;
out vec3 world_normal;
out vec2 tex;
out vec4 tint;
void main() {
    world = position;
    world_normal = normal;
    tex = uv;
    tint = color;
    gl_Position = matrix * vec4(position, 1.0);
}
"""

FRAGMENT = """
#version 330
uniform sampler2D base;
uniform vec4 factor;
uniform vec3 eye;
uniform bool unlit;
uniform int alpha_mode;
uniform float cutoff;
in vec3 world;
in vec3 world_normal;
in vec2 tex;
in vec4 tint;
out vec4 result;

vec3 to_linear(vec3 c) { return mix(c / 12.92, pow((c + 0.055) / 1.055, vec3(2.4)), step(0.04045, c)); }
vec3 to_srgb(vec3 c) { return mix(c * 12.92, 1.055 * pow(c, vec3(1.0 / 2.4)) - 0.055, step(0.0031308, c)); }

void main() {
    vec4 t = texture(base, tex);
    vec4 c = vec4(to_linear(t.rgb), t.a) * factor * tint;
    float alpha = alpha_mode == 0 ? 1.0 : c.a;
    if (alpha_mode == 1) {
        if (alpha < cutoff) discard;
        alpha = 1.0;
    }
    vec3 lit = c.rgb;
    if (!unlit) {
        vec3 n = normalize(world_normal + vec3(1e-6));
        if (dot(n, eye - world) < 0.0) n = -n;
        float sky = 0.5 + 0.5 * n.z;
        float key = max(dot(n, normalize(vec3(-0.45, -0.65, 0.75))), 0.0);
        float fill = max(dot(n, normalize(vec3(0.8, 0.35, 0.25))), 0.0);
        lit *= mix(vec3(0.34), vec3(0.62), sky) + 0.62 * key + 0.18 * fill;
    }
    result = vec4(to_srgb(clamp(lit, 0.0, 1.0)) * alpha, alpha);
}
"""
