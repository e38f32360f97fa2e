// The C ABI: project, bin, draw; and the way back. Every array is contiguous float32 owned by the caller.
//
// Deterministic: results do not depend on the number of threads. Each tile writes gradient records of its own, which
// are then added per Gaussian in tile order; nothing is accumulated atomically.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>
#include <vector>

#include "kernel.h"
#include "pool.h"

#if defined(_WIN32)
#define O4D_EXPORT extern "C" __declspec(dllexport)
#else
#define O4D_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace o4d {
namespace {

constexpr float kNear = 0.05f;
constexpr float kLowPass = 0.3f;

struct Inputs {
  int views, count, width, height, threads;
  const float *means, *quats, *log_scales, *opacities, *colors;  // opacities as logits
  long means_stride, quats_stride, log_scales_stride, opacities_stride, colors_stride;  // floats from view to view, 0 = shared
  const float *world_to_camera, *intrinsics;  // (views, 4, 4), (views, 3, 3) row major
};

struct Mat3 {
  float m[3][3];
};

// Everything about one Gaussian's projection that both passes need.
struct Projection {
  float p[3];            // camera coordinates
  float rotation[3][3];  // of the normalised quaternion
  float norm;            // of the quaternion
  float scale[3];
  float v[2][3];         // J W
  float t[2][3];         // V R S
  float xz, yz;          // clamped x / z, y / z
  bool clamped_x, clamped_y;
  float cxx, cxy, cyy;   // 2D covariance with the low-pass term
};

void rotation_of(const float* q, float inverse_norm, float r[3][3]) {
  const float w = q[0] * inverse_norm, x = q[1] * inverse_norm, y = q[2] * inverse_norm, z = q[3] * inverse_norm;
  r[0][0] = 1 - 2 * (y * y + z * z), r[0][1] = 2 * (x * y - w * z), r[0][2] = 2 * (x * z + w * y);
  r[1][0] = 2 * (x * y + w * z), r[1][1] = 1 - 2 * (x * x + z * z), r[1][2] = 2 * (y * z - w * x);
  r[2][0] = 2 * (x * z - w * y), r[2][1] = 2 * (y * z + w * x), r[2][2] = 1 - 2 * (x * x + y * y);
}

bool project(const Inputs& in, int view, int i, Projection& o) {
  const float* m = in.means + view * in.means_stride + 3L * i;
  const float* q = in.quats + view * in.quats_stride + 4L * i;
  const float* s = in.log_scales + view * in.log_scales_stride + 3L * i;
  const float* w = in.world_to_camera + 16L * view;
  const float* k = in.intrinsics + 9L * view;
  for (int r = 0; r < 3; ++r) o.p[r] = w[4 * r] * m[0] + w[4 * r + 1] * m[1] + w[4 * r + 2] * m[2] + w[4 * r + 3];
  const float z = o.p[2];
  if (!(z > kNear)) return false;
  o.norm = std::sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  if (!(o.norm > 1e-12f)) return false;
  rotation_of(q, 1.0f / o.norm, o.rotation);
  for (int r = 0; r < 3; ++r) o.scale[r] = std::exp(std::min(s[r], 20.0f));
  const float fx = k[0], fy = k[4], iz = 1.0f / z;
  const float lim_x = 0.65f * in.width / fx, lim_y = 0.65f * in.height / fy;  // 1.3 half-frames: keeps the linearisation sane
  const float tx = o.p[0] * iz, ty = o.p[1] * iz;
  o.xz = std::min(std::max(tx, -lim_x), lim_x), o.yz = std::min(std::max(ty, -lim_y), lim_y);
  o.clamped_x = o.xz != tx, o.clamped_y = o.yz != ty;
  for (int c = 0; c < 3; ++c) {
    o.v[0][c] = fx * iz * (w[c] - o.xz * w[8 + c]);
    o.v[1][c] = fy * iz * (w[4 + c] - o.yz * w[8 + c]);
  }
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < 3; ++c)
      o.t[r][c] = (o.v[r][0] * o.rotation[0][c] + o.v[r][1] * o.rotation[1][c] + o.v[r][2] * o.rotation[2][c]) * o.scale[c];
  o.cxx = o.t[0][0] * o.t[0][0] + o.t[0][1] * o.t[0][1] + o.t[0][2] * o.t[0][2] + kLowPass;
  o.cyy = o.t[1][0] * o.t[1][0] + o.t[1][1] * o.t[1][1] + o.t[1][2] * o.t[1][2] + kLowPass;
  o.cxy = o.t[0][0] * o.t[1][0] + o.t[0][1] * o.t[1][1] + o.t[0][2] * o.t[1][2];
  return true;
}

int clamp_int(float v, int high) { return static_cast<int>(std::min(std::max(v, 0.0f), static_cast<float>(high))); }

Splat make_splat(const Inputs& in, int view, int i) {
  Splat g;
  std::memset(&g, 0, sizeof g);
  Projection o;
  if (!project(in, view, i, o)) return g;
  const float logit = in.opacities[view * in.opacities_stride + i];
  g.opacity = 1.0f / (1.0f + std::exp(-logit));
  const float det = o.cxx * o.cyy - o.cxy * o.cxy;
  if (!(g.opacity > kAlphaMin) || !(det > 0.0f) || !std::isfinite(det)) return g;
  const float* k = in.intrinsics + 9L * view;
  g.x = k[0] * o.p[0] / o.p[2] + k[2];
  g.y = k[4] * o.p[1] / o.p[2] + k[5];
  g.a = o.cyy / det, g.b = -o.cxy / det, g.c = o.cxx / det;
  g.limit = std::log(255.0f * g.opacity);
  g.depth = o.p[2];
  const float* color = in.colors + view * in.colors_stride + 3L * i;
  std::copy(color, color + 3, g.color);
  const float rx = std::sqrt(2.0f * g.limit * o.cxx), ry = std::sqrt(2.0f * g.limit * o.cyy);
  g.x0 = clamp_int(std::floor(g.x - rx - 0.5f), in.width), g.x1 = clamp_int(std::ceil(g.x + rx + 0.5f), in.width);
  g.y0 = clamp_int(std::floor(g.y - ry - 0.5f), in.height), g.y1 = clamp_int(std::ceil(g.y + ry + 0.5f), in.height);
  if (g.x0 >= g.x1 || g.y0 >= g.y1) g.x0 = g.x1 = g.y0 = g.y1 = 0;
  return g;
}

// One view's splats and tile lists. `entries` of Gaussian i are list positions, in tile order, at first_entry[i]..[i + 1].
struct View {
  std::vector<Splat> splats;
  std::vector<int32_t> list, tile_start, first_entry, entries;
};

void sort_by_depth(const std::vector<Splat>& splats, std::vector<int32_t>& order) {
  order.clear();
  for (size_t i = 0; i < splats.size(); ++i)
    if (splats[i].x1 > splats[i].x0) order.push_back(static_cast<int32_t>(i));
  std::vector<uint32_t> keys(splats.size());
  for (int32_t i : order) std::memcpy(&keys[i], &splats[i].depth, 4);  // positive floats order like their bits
  std::vector<int32_t> other(order.size());
  for (int shift = 0; shift < 32; shift += 11) {
    uint32_t start[2049] = {};
    for (int32_t i : order) ++start[((keys[i] >> shift) & 2047) + 1];
    for (int b = 0; b < 2048; ++b) start[b + 1] += start[b];
    for (int32_t i : order) other[start[(keys[i] >> shift) & 2047]++] = i;
    order.swap(other);
  }
}

void bin(View& view, int width, int height) {
  const int across = (width + kTile - 1) / kTile, down = (height + kTile - 1) / kTile;
  std::vector<int32_t> order;
  sort_by_depth(view.splats, order);
  view.tile_start.assign(static_cast<size_t>(across) * down + 1, 0);
  view.first_entry.assign(view.splats.size() + 1, 0);
  auto tiles = [&](const Splat& g, auto&& visit) {
    for (int y = g.y0 / kTile; y <= (g.y1 - 1) / kTile; ++y)
      for (int x = g.x0 / kTile; x <= (g.x1 - 1) / kTile; ++x) visit(y * across + x);
  };
  for (int32_t i : order) tiles(view.splats[i], [&](int t) { ++view.tile_start[t + 1], ++view.first_entry[i + 1]; });
  std::partial_sum(view.tile_start.begin(), view.tile_start.end(), view.tile_start.begin());
  std::partial_sum(view.first_entry.begin(), view.first_entry.end(), view.first_entry.begin());
  view.list.resize(view.tile_start.back());
  view.entries.resize(view.list.size());
  std::vector<int32_t> cursor(view.tile_start.begin(), view.tile_start.end() - 1);
  for (int32_t i : order) {
    int32_t at = view.first_entry[i];
    tiles(view.splats[i], [&](int t) {
      view.entries[at++] = cursor[t];
      view.list[cursor[t]++] = i;
    });
  }
}

bool has_avx2() {
#if defined(O4D_AVX2)
  static const bool yes = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return yes;
#else
  return false;
#endif
}

ForwardFn forward_kernel() {
#if defined(O4D_AVX2)
  if (has_avx2()) return avx2::forward;
#endif
  return base::forward;
}

BackwardFn backward_kernel() {
#if defined(O4D_AVX2)
  if (has_avx2()) return avx2::backward;
#endif
  return base::backward;
}

struct Session {
  Inputs in;
  std::vector<View> views;
  const float *rgb, *alpha, *depth;
};

struct Outputs {
  float *means, *quats, *log_scales, *opacities, *colors, *means2d;  // (views, n, .)
};

// Chain rule from the image plane back to one Gaussian's parameters.
void unproject(const Inputs& in, int view, int i, const SplatGrad& g, const Splat& s, const Outputs& out) {
  Projection o;
  if (!project(in, view, i, o)) return;
  const long at = static_cast<long>(view) * in.count + i;
  const float* w = in.world_to_camera + 16L * view;
  const float* k = in.intrinsics + 9L * view;
  const float fx = k[0], fy = k[4], iz = 1.0f / o.p[2];
  out.means2d[2 * at] = g.x, out.means2d[2 * at + 1] = g.y;
  std::copy(g.color, g.color + 3, out.colors + 3 * at);
  out.opacities[at] = g.opacity * s.opacity * (1.0f - s.opacity);
  // conic -> covariance: dL/dC = -K (dL/dK) K with the symmetric dL/dK = [[ga, gb/2], [gb/2, gc]]
  const float ka = s.a, kb = s.b, kc = s.c, ha = g.a, hb = 0.5f * g.b, hc = g.c;
  const float m00 = ka * ha + kb * hb, m01 = ka * hb + kb * hc, m10 = kb * ha + kc * hb, m11 = kb * hb + kc * hc;
  const float gxx = -(m00 * ka + m01 * kb), gxy = -(m00 * kb + m01 * kc), gyy = -(m10 * kb + m11 * kc);
  // covariance = T T^t: dT = 2 G T
  float dt[2][3];
  for (int c = 0; c < 3; ++c) {
    dt[0][c] = 2.0f * (gxx * o.t[0][c] + gxy * o.t[1][c]);
    dt[1][c] = 2.0f * (gxy * o.t[0][c] + gyy * o.t[1][c]);
  }
  // T = V M, M = R S
  float dm[3][3], dv[2][3];
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 3; ++c) dm[r][c] = o.v[0][r] * dt[0][c] + o.v[1][r] * dt[1][c];
  for (int r = 0; r < 2; ++r)
    for (int c = 0; c < 3; ++c)
      dv[r][c] = dt[r][0] * o.rotation[c][0] * o.scale[0] + dt[r][1] * o.rotation[c][1] * o.scale[1] + dt[r][2] * o.rotation[c][2] * o.scale[2];
  for (int c = 0; c < 3; ++c)
    out.log_scales[3 * at + c] = (dm[0][c] * o.rotation[0][c] + dm[1][c] * o.rotation[1][c] + dm[2][c] * o.rotation[2][c]) * o.scale[c];
  float d[3][3];
  for (int r = 0; r < 3; ++r)
    for (int c = 0; c < 3; ++c) d[r][c] = dm[r][c] * o.scale[c];
  const float* q = in.quats + view * in.quats_stride + 4L * i;
  const float inv = 1.0f / o.norm, qw = q[0] * inv, qx = q[1] * inv, qy = q[2] * inv, qz = q[3] * inv;
  const float unit[4] = {qw, qx, qy, qz};
  const float dq[4] = {
      2 * (-qz * d[0][1] + qy * d[0][2] + qz * d[1][0] - qx * d[1][2] - qy * d[2][0] + qx * d[2][1]),
      2 * (qy * d[0][1] + qz * d[0][2] + qy * d[1][0] - 2 * qx * d[1][1] - qw * d[1][2] + qz * d[2][0] + qw * d[2][1] - 2 * qx * d[2][2]),
      2 * (-2 * qy * d[0][0] + qx * d[0][1] + qw * d[0][2] + qx * d[1][0] + qz * d[1][2] - qw * d[2][0] + qz * d[2][1] - 2 * qy * d[2][2]),
      2 * (-2 * qz * d[0][0] - qw * d[0][1] + qx * d[0][2] + qw * d[1][0] - 2 * qz * d[1][1] + qy * d[1][2] + qx * d[2][0] + qy * d[2][1])};
  const float along = dq[0] * qw + dq[1] * qx + dq[2] * qy + dq[3] * qz;
  for (int c = 0; c < 4; ++c) out.quats[4 * at + c] = (dq[c] - along * unit[c]) * inv;
  // V rows: fx / z (W0 - xz W2), fy / z (W1 - yz W2); and the mean itself
  float dp[3];
  float dot_x = 0, dot_y = 0, dxz = 0, dyz = 0;
  for (int c = 0; c < 3; ++c) {
    dot_x += dv[0][c] * o.v[0][c], dot_y += dv[1][c] * o.v[1][c];
    dxz -= dv[0][c] * fx * iz * w[8 + c], dyz -= dv[1][c] * fy * iz * w[8 + c];
  }
  if (o.clamped_x) dxz = 0.0f;
  if (o.clamped_y) dyz = 0.0f;
  dp[0] = g.x * fx * iz + dxz * iz;
  dp[1] = g.y * fy * iz + dyz * iz;
  dp[2] = g.depth - (g.x * fx * o.p[0] + g.y * fy * o.p[1]) * iz * iz - (dot_x + dot_y) * iz - (dxz * o.p[0] + dyz * o.p[1]) * iz * iz;
  for (int c = 0; c < 3; ++c) out.means[3 * at + c] = w[c] * dp[0] + w[4 + c] * dp[1] + w[8 + c] * dp[2];
}

constexpr int kChunk = 1024;

}  // namespace
}  // namespace o4d

using namespace o4d;

O4D_EXPORT int o4d_abi_version() { return 1; }

O4D_EXPORT int o4d_default_threads() { return default_threads(); }

O4D_EXPORT const char* o4d_instruction_set() { return has_avx2() ? "avx2" : "base"; }

// Draws all views. Returns a session for o4d_backward; free it with o4d_free. The arrays must outlive the session.
// strides: means, quats, log_scales, opacities, colors: floats from one view to the next, 0 where shared.
O4D_EXPORT void* o4d_forward(int views, int count, int width, int height, int threads, const float* means, const float* quats,
                             const float* log_scales, const float* opacities, const float* colors, const long long* strides,
                             const float* world_to_camera, const float* intrinsics, float* rgb, float* alpha, float* depth, float* radii) {
  auto session = std::make_unique<Session>();
  session->in = {views, count, width, height, threads > 0 ? threads : default_threads(), means, quats, log_scales, opacities, colors,
                 static_cast<long>(strides[0]), static_cast<long>(strides[1]), static_cast<long>(strides[2]), static_cast<long>(strides[3]),
                 static_cast<long>(strides[4]), world_to_camera, intrinsics};
  const Inputs& in = session->in;
  session->views.resize(views);
  session->rgb = rgb, session->alpha = alpha, session->depth = depth;
  for (auto& view : session->views) view.splats.resize(count);
  const int chunks = (count + kChunk - 1) / kChunk;
  parallel_for(views * chunks, in.threads, [&](int job) {
    const int v = job / chunks, begin = job % chunks * kChunk, end = std::min(count, begin + kChunk);
    for (int i = begin; i < end; ++i) {
      const Splat g = make_splat(in, v, i);
      session->views[v].splats[i] = g;
      radii[static_cast<long>(v) * count + i] = 0.5f * static_cast<float>(std::max(g.x1 - g.x0, g.y1 - g.y0));
    }
  });
  parallel_for(views, in.threads, [&](int v) { bin(session->views[v], width, height); });
  const int across = (width + kTile - 1) / kTile, tiles = across * ((height + kTile - 1) / kTile);
  const long plane = static_cast<long>(width) * height;
  const ForwardFn kernel = forward_kernel();
  parallel_for(views * tiles, in.threads, [&](int job) {
    const int v = job / tiles, t = job % tiles;
    const View& view = session->views[v];
    const int start = view.tile_start[t];
    const Tile tile = {t % across * kTile, t / across * kTile, width, height, view.list.data() + start, view.tile_start[t + 1] - start};
    kernel(tile, view.splats.data(), {rgb + 3 * plane * v, alpha + plane * v, depth + plane * v});
  });
  return session.release();
}

// Gradients per view; the caller adds views up where a parameter is shared. Outputs must be zeroed.
O4D_EXPORT void o4d_backward(void* handle, const float* grad_rgb, const float* grad_alpha, const float* grad_depth, float* means,
                             float* quats, float* log_scales, float* opacities, float* colors, float* means2d) {
  const Session& session = *static_cast<Session*>(handle);
  const Inputs& in = session.in;
  const int across = (in.width + kTile - 1) / kTile, tiles = across * ((in.height + kTile - 1) / kTile);
  const long plane = static_cast<long>(in.width) * in.height;
  std::vector<std::vector<SplatGrad>> records(in.views);
  for (int v = 0; v < in.views; ++v) records[v].resize(session.views[v].list.size());
  const BackwardFn kernel = backward_kernel();
  parallel_for(in.views * tiles, in.threads, [&](int job) {
    const int v = job / tiles, t = job % tiles;
    const View& view = session.views[v];
    const int start = view.tile_start[t];
    const Tile tile = {t % across * kTile, t / across * kTile, in.width, in.height, view.list.data() + start, view.tile_start[t + 1] - start};
    const Image image = {const_cast<float*>(session.rgb) + 3 * plane * v, const_cast<float*>(session.alpha) + plane * v,
                         const_cast<float*>(session.depth) + plane * v};
    kernel(tile, view.splats.data(), image, {grad_rgb + 3 * plane * v, grad_alpha + plane * v, grad_depth + plane * v}, records[v].data() + start);
  });
  const int chunks = (in.count + kChunk - 1) / kChunk;
  const Outputs out = {means, quats, log_scales, opacities, colors, means2d};
  parallel_for(in.views * chunks, in.threads, [&](int job) {
    const int v = job / chunks, begin = job % chunks * kChunk, end = std::min(in.count, begin + kChunk);
    const View& view = session.views[v];
    for (int i = begin; i < end; ++i) {
      if (view.first_entry[i] == view.first_entry[i + 1]) continue;
      SplatGrad total;
      std::memset(&total, 0, sizeof total);
      for (int e = view.first_entry[i]; e < view.first_entry[i + 1]; ++e) {
        const SplatGrad& r = records[v][view.entries[e]];
        total.x += r.x, total.y += r.y, total.a += r.a, total.b += r.b, total.c += r.c, total.opacity += r.opacity, total.depth += r.depth;
        for (int c = 0; c < 3; ++c) total.color[c] += r.color[c];
      }
      unproject(in, v, i, total, view.splats[i], out);
    }
  });
}

O4D_EXPORT void o4d_free(void* handle) { delete static_cast<Session*>(handle); }
