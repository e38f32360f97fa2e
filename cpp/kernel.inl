// The tile kernels, compiled once per instruction set (O4D_NAMESPACE). Both walk the tile's list from near to far; for
// each Gaussian only the rows, and in a row only the groups of eight pixels, that its ellipse power <= limit touches.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernel.h"

namespace o4d {
namespace O4D_NAMESPACE {
namespace {

constexpr int kLanes = 8;
typedef float Vec __attribute__((vector_size(32)));
typedef int32_t Int __attribute__((vector_size(32)));

inline Vec splat(float v) { return Vec{v, v, v, v, v, v, v, v}; }
inline Vec load(const float* p) { Vec v; std::memcpy(&v, p, sizeof v); return v; }
inline void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }
inline Vec select(Int mask, Vec yes, Vec no) { return mask ? yes : no; }
inline Vec minimum(Vec a, Vec b) { return a < b ? a : b; }
inline bool any(Int m) {
  int32_t t[8];
  std::memcpy(t, &m, sizeof t);
  return (t[0] | t[1] | t[2] | t[3] | t[4] | t[5] | t[6] | t[7]) != 0;
}
inline float sum(Vec v) { return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7])); }

// exp(-p) for p >= 0, relative error below 3e-7: 2^k by exponent bits, 2^f by a polynomial on [-1/2, 1/2].
inline Vec exp_negative(Vec p) {
  Vec y = minimum(p, splat(80.0f)) * splat(-1.44269504f);
  const Vec magic = splat(12582912.0f);
  const Vec shifted = y + magic;
  const Vec k = shifted - magic;
  const Vec f = y - k;
  Vec r = splat(1.54035304e-4f);
  r = r * f + splat(1.33335581e-3f);
  r = r * f + splat(9.61812911e-3f);
  r = r * f + splat(5.55041087e-2f);
  r = r * f + splat(2.40226507e-1f);
  r = r * f + splat(6.93147181e-1f);
  r = r * f + splat(1.0f);
  Int bits;
  std::memcpy(&bits, &r, sizeof bits);
  bits += __builtin_convertvector(k, Int) << 23;
  std::memcpy(&r, &bits, sizeof r);
  return r;
}

// Pixel columns [first, last) of row y inside the ellipse, clipped to the tile; empty when first >= last.
inline void columns(const Splat& g, float dy, const Tile& tile, int& first, int& last) {
  const float half = g.b * dy;
  const float d = half * half - g.a * (g.c * dy * dy - 2.0f * g.limit);
  if (d <= 0.0f) {
    first = last = 0;
    return;
  }
  const float root = std::sqrt(d), inverse = 1.0f / g.a;
  const float low = g.x + (-half - root) * inverse - 0.5f, high = g.x + (-half + root) * inverse - 0.5f;
  first = std::max(std::max(g.x0, tile.x), static_cast<int>(std::floor(std::max(low, -1.0f))));
  last = std::min(std::min(g.x1, tile.x + kTile), static_cast<int>(std::ceil(std::min(high, 1e8f))) + 1);
}

const Vec kRamp = {0.5f, 1.5f, 2.5f, 3.5f, 4.5f, 5.5f, 6.5f, 7.5f};

struct State {
  alignas(32) float t[kTile * kTile], r[kTile * kTile], g[kTile * kTile], b[kTile * kTile], z[kTile * kTile];
};

inline bool finished(const State& s) {
  for (int i = 0; i < kTile * kTile; i += kLanes)
    if (any(load(s.t + i) > splat(kStop))) return false;
  return true;
}

}  // namespace

void forward(const Tile& tile, const Splat* splats, const Image& image) {
  State s;
  std::memset(&s, 0, sizeof s);
  const int rows = std::min(kTile, tile.height - tile.y), cols = std::min(kTile, tile.width - tile.x);
  for (int y = 0; y < rows; ++y)
    for (int x = 0; x < cols; ++x) s.t[y * kTile + x] = 1.0f;
  for (int i = 0; i < tile.count; ++i) {
    if ((i & 31) == 31 && finished(s)) break;
    const Splat& g = splats[tile.list[i]];
    const int y_end = std::min(g.y1, tile.y + rows);
    for (int y = std::max(g.y0, tile.y); y < y_end; ++y) {
      const float dy = static_cast<float>(y) + 0.5f - g.y;
      int first, last;
      columns(g, dy, tile, first, last);
      for (int x = tile.x + (first - tile.x) / kLanes * kLanes; x < last; x += kLanes) {
        const int at = (y - tile.y) * kTile + (x - tile.x);
        const Vec t = load(s.t + at);
        const Vec dx = kRamp + splat(static_cast<float>(x) - g.x);
        const Vec power = dx * (splat(0.5f * g.a) * dx + splat(g.b * dy)) + splat(0.5f * g.c * dy * dy);
        Vec alpha = minimum(splat(g.opacity) * exp_negative(power), splat(kAlphaMax));
        const Int live = (alpha >= splat(kAlphaMin)) & (t > splat(kStop)) & (power >= splat(0.0f));
        alpha = select(live, alpha, splat(0.0f));
        const Vec w = alpha * t;
        store(s.r + at, load(s.r + at) + w * splat(g.color[0]));
        store(s.g + at, load(s.g + at) + w * splat(g.color[1]));
        store(s.b + at, load(s.b + at) + w * splat(g.color[2]));
        store(s.z + at, load(s.z + at) + w * splat(g.depth));
        store(s.t + at, t - w);
      }
    }
  }
  const long plane = static_cast<long>(tile.width) * tile.height;
  for (int y = 0; y < rows; ++y)
    for (int x = 0; x < cols; ++x) {
      const long p = static_cast<long>(tile.y + y) * tile.width + tile.x + x;
      const int at = y * kTile + x;
      image.rgb[p] = s.r[at];
      image.rgb[plane + p] = s.g[at];
      image.rgb[2 * plane + p] = s.b[at];
      image.depth[p] = s.z[at];
      image.alpha[p] = 1.0f - s.t[at];
    }
}

// With q_i = c_i . dL/dC + z_i dL/dD + dL/dA, w_i = alpha_i T_i and Q = sum_i w_i q_i (known from the forward images):
//     dL/dalpha_i = T_i q_i - (Q - sum_{j <= i} w_j q_j) / (1 - alpha_i)
// so the same near-to-far walk recomputes T_i exactly as the forward pass did.
void backward(const Tile& tile, const Splat* splats, const Image& image, const ImageGrad& grad, SplatGrad* out) {
  State s;  // t: transmittance; r, g, b, z: the pixel's gradients
  std::memset(&s, 0, sizeof s);
  alignas(32) float ga[kTile * kTile] = {}, rest[kTile * kTile] = {};
  const int rows = std::min(kTile, tile.height - tile.y), cols = std::min(kTile, tile.width - tile.x);
  const long plane = static_cast<long>(tile.width) * tile.height;
  for (int y = 0; y < rows; ++y)
    for (int x = 0; x < cols; ++x) {
      const long p = static_cast<long>(tile.y + y) * tile.width + tile.x + x;
      const int at = y * kTile + x;
      s.t[at] = 1.0f;
      s.r[at] = grad.rgb[p];
      s.g[at] = grad.rgb[plane + p];
      s.b[at] = grad.rgb[2 * plane + p];
      s.z[at] = grad.depth[p];
      ga[at] = grad.alpha[p];
      rest[at] = image.rgb[p] * s.r[at] + image.rgb[plane + p] * s.g[at] + image.rgb[2 * plane + p] * s.b[at] +
                 image.depth[p] * s.z[at] + image.alpha[p] * ga[at];
    }
  for (int i = 0; i < tile.count; ++i) {
    if ((i & 31) == 31 && finished(s)) {
      std::memset(out + i, 0, sizeof(SplatGrad) * static_cast<size_t>(tile.count - i));
      return;
    }
    const Splat& g = splats[tile.list[i]];
    Vec sx = splat(0), sy = sx, sa = sx, sb = sx, sc = sx, so = sx, s0 = sx, s1 = sx, s2 = sx, sz = sx;
    const int y_end = std::min(g.y1, tile.y + rows);
    for (int y = std::max(g.y0, tile.y); y < y_end; ++y) {
      const float dy = static_cast<float>(y) + 0.5f - g.y;
      int first, last;
      columns(g, dy, tile, first, last);
      for (int x = tile.x + (first - tile.x) / kLanes * kLanes; x < last; x += kLanes) {
        const int at = (y - tile.y) * kTile + (x - tile.x);
        const Vec t = load(s.t + at);
        const Vec dx = kRamp + splat(static_cast<float>(x) - g.x);
        const Vec power = dx * (splat(0.5f * g.a) * dx + splat(g.b * dy)) + splat(0.5f * g.c * dy * dy);
        const Vec falloff = exp_negative(power);
        const Vec raw = splat(g.opacity) * falloff;
        Vec alpha = minimum(raw, splat(kAlphaMax));
        const Int live = (alpha >= splat(kAlphaMin)) & (t > splat(kStop)) & (power >= splat(0.0f));
        if (!any(live)) continue;
        alpha = select(live, alpha, splat(0.0f));
        const Vec w = alpha * t;
        const Vec gr = load(s.r + at), gg = load(s.g + at), gb = load(s.b + at), gz = load(s.z + at);
        const Vec q = splat(g.color[0]) * gr + splat(g.color[1]) * gg + splat(g.color[2]) * gb + splat(g.depth) * gz + load(ga + at);
        const Vec behind = load(rest + at) - w * q;
        store(rest + at, behind);
        store(s.t + at, t - w);
        s0 += w * gr;
        s1 += w * gg;
        s2 += w * gb;
        sz += w * gz;
        Vec dalpha = t * q - behind / (splat(1.0f) - alpha);
        dalpha = select(live & (raw < splat(kAlphaMax)), dalpha, splat(0.0f));
        so += dalpha * falloff;
        const Vec dpower = -dalpha * alpha;
        sx -= dpower * (splat(g.a) * dx + splat(g.b * dy));
        sy -= dpower * (splat(g.b) * dx + splat(g.c * dy));
        sa += dpower * (splat(0.5f) * dx * dx);
        sb += dpower * (dx * splat(dy));
        sc += dpower * splat(0.5f * dy * dy);
      }
    }
    out[i] = {sum(sx), sum(sy), sum(sa), sum(sb), sum(sc), sum(so), {sum(s0), sum(s1), sum(s2)}, sum(sz)};
  }
}

}  // namespace O4D_NAMESPACE
}  // namespace o4d
