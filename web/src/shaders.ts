// Two passes. The first computes every splat's state at one time, once: a fragment a splat. The second draws sorted quads.

export const EVALUATE_VERTEX = `#version 300 es
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }`;

/** `defines` says which tracks there are: MOVE, TURN, SCALE, TINT (colour and opacity), and BAND where colours depend on the direction. */
export const evaluateFragment = (defines: string): string => `#version 300 es
${defines}
precision highp float; precision highp int; precision highp sampler2D; precision highp isampler2D;
uniform sampler2D base;
uniform isampler2D moves, turns, logScales, tints;
uniform float weights[64];
uniform int count, rank, width, texels;
uniform float moveUnit, turnUnit, scaleUnit, tintUnit, fadeUnit;
uniform vec3 eye;
layout(location = 0) out uvec4 place;
layout(location = 1) out uvec4 shape;
ivec2 at(int i) { return ivec2(i % width, i / width); }
void main() {
  int i = int(gl_FragCoord.y) * width + int(gl_FragCoord.x);
  if (i >= count) { place = shape = uvec4(0u); return; }
  vec4 p = texelFetch(base, at(texels * i), 0), q = texelFetch(base, at(texels * i + 1), 0);
  vec3 s = texelFetch(base, at(texels * i + 2), 0).xyz, c = texelFetch(base, at(texels * i + 3), 0).rgb;
  vec4 move = vec4(0), turn = vec4(0), grow = vec4(0), tint = vec4(0);
  for (int r = 0; r < rank; r++) {
    ivec2 k = at(r * count + i);
    float w = weights[r];
#ifdef MOVE
    move += w * vec4(texelFetch(moves, k, 0));
#endif
#ifdef TURN
    turn += w * vec4(texelFetch(turns, k, 0));
#endif
#ifdef SCALE
    grow += w * vec4(texelFetch(logScales, k, 0));
#endif
#ifdef TINT
    tint += w * vec4(texelFetch(tints, k, 0));
#endif
  }
  vec3 centre = p.xyz + moveUnit * move.xyz;
  vec4 t = normalize(turnUnit * turn + vec4(0, 0, 0, 1));
  q = normalize(vec4(t.w * q.xyz + q.w * t.xyz + cross(t.xyz, q.xyz), t.w * q.w - dot(t.xyz, q.xyz)));
  s *= exp(scaleUnit * grow.xyz);
  c += tintUnit * tint.rgb;
#ifdef BAND
  vec3 d = normalize(centre - eye);
  c += 0.4886025119029199 * (-d.y * texelFetch(base, at(texels * i + 4), 0).rgb + d.z * texelFetch(base, at(texels * i + 5), 0).rgb
    - d.x * texelFetch(base, at(texels * i + 6), 0).rgb);
#endif
  float opacity = clamp(p.w + fadeUnit * tint.w, 0.0, 1.0);
  float x = q.x, y = q.y, z = q.z, w = q.w;
  mat3 m = mat3(1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y),
                2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x),
                2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y)) * mat3(s.x, 0, 0, 0, s.y, 0, 0, 0, s.z);
  mat3 v = m * transpose(m);
  float trace = v[0][0] + v[1][1] + v[2][2];
  v /= trace;
  uvec4 rgba = uvec4(clamp(vec4(c, opacity), 0.0, 1.0) * 255.0 + 0.5);
  place = uvec4(floatBitsToUint(centre), rgba.r | rgba.g << 8 | rgba.b << 16 | rgba.a << 24);
  shape = uvec4(packHalf2x16(vec2(v[0][0], v[0][1])), packHalf2x16(vec2(v[0][2], v[1][1])), packHalf2x16(vec2(v[1][2], v[2][2])),
                floatBitsToUint(trace));
}`;

export const DRAW_VERTEX = `#version 300 es
precision highp float; precision highp int; precision highp usampler2D;
uniform usampler2D places, shapes, order;
uniform int width, batch, count;
uniform mat4 view;
uniform vec2 focal, viewport;
out vec2 offset;
flat out vec4 tint;
void main() {
  gl_Position = vec4(0.0, 0.0, 2.0, 1.0);
  int slot = gl_InstanceID * batch + (gl_VertexID >> 2);
  if (slot >= count) return;
  int index = int(texelFetch(order, ivec2(slot % width, slot / width), 0).r);
  ivec2 k = ivec2(index % width, index / width);
  uvec4 a = texelFetch(places, k, 0), b = texelFetch(shapes, k, 0);
  vec4 c = vec4(a.w & 255u, a.w >> 8 & 255u, a.w >> 16 & 255u, a.w >> 24) / 255.0;
  vec4 p = view * vec4(uintBitsToFloat(a.xyz), 1.0);
  if (p.z < 0.05 || c.a < 1.0 / 255.0) return;
  vec2 v0 = unpackHalf2x16(b.x), v1 = unpackHalf2x16(b.y), v2 = unpackHalf2x16(b.z);
  mat3 v = uintBitsToFloat(b.w) * mat3(v0.x, v0.y, v1.x, v0.y, v1.y, v2.x, v1.x, v2.x, v2.y);
  mat3 turn = mat3(view);
  vec2 limit = 0.65 * viewport / focal, t = clamp(p.xy / p.z, -limit, limit);
  vec3 jx = vec3(focal.x / p.z, 0.0, -focal.x * t.x / p.z) * turn, jy = vec3(0.0, focal.y / p.z, -focal.y * t.y / p.z) * turn;
  float xx = dot(jx, v * jx) + 0.3, xy = dot(jx, v * jy), yy = dot(jy, v * jy) + 0.3;
  float middle = 0.5 * (xx + yy), radius = sqrt(max(middle * middle - (xx * yy - xy * xy), 1e-8));
  float l1 = middle + radius, l2 = max(middle - radius, 1e-4);
  vec2 axis = abs(xy) < 1e-6 ? (xx >= yy ? vec2(1, 0) : vec2(0, 1)) : normalize(vec2(xy, l1 - xx));
  offset = (vec2(gl_VertexID & 1, gl_VertexID >> 1 & 1) * 2.0 - 1.0) * sqrt(2.0 * log(max(255.0 * c.a, 1.0001)));
  vec2 pixel = focal * p.xy / p.z + axis * offset.x * sqrt(l1) + vec2(-axis.y, axis.x) * offset.y * sqrt(l2);
  tint = c;
  gl_Position = vec4(2.0 * pixel.x / viewport.x, -2.0 * pixel.y / viewport.y, 0.0, 1.0);
}`;

export const DRAW_FRAGMENT = `#version 300 es
precision highp float;
in vec2 offset;
flat in vec4 tint;
out vec4 result;
void main() {
  float alpha = min(0.999, tint.a * exp(-0.5 * dot(offset, offset)));
  if (alpha < 1.0 / 255.0) discard;
  result = vec4(tint.rgb * alpha, alpha);
}`;
