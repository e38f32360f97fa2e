// Linear blend skinning and its gradient: Gaussians carried by the control nodes' rigid motions.
//
// A node at one time is 16 floats: the rotation R (9, row major), the offset o = p + T - R p (3), the quaternion q (4).
// With B = sum_k w_k node_k:   mean' = B.R mean + B.o,   quat' = normalise(B.q) * normalise(quat).
// Views run in parallel; within a view the order is fixed, so results do not depend on the number of threads.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "export.h"
#include "pool.h"

namespace o4d {
namespace {

constexpr int kNode = 16;
constexpr float kTiny = 1e-12f;

struct Quat {
  float w, x, y, z;
};
inline Quat times(Quat a, Quat b) {
  return {a.w * b.w - a.x * b.x - a.y * b.y - a.z * b.z, a.w * b.x + a.x * b.w + a.y * b.z - a.z * b.y,
          a.w * b.y - a.x * b.z + a.y * b.w + a.z * b.x, a.w * b.z + a.x * b.y - a.y * b.x + a.z * b.w};
}
inline Quat conjugate(Quat a) { return {a.w, -a.x, -a.y, -a.z}; }
inline float dot(Quat a, Quat b) { return a.w * b.w + a.x * b.x + a.y * b.y + a.z * b.z; }
inline Quat scaled(Quat a, float s) { return {a.w * s, a.x * s, a.y * s, a.z * s}; }
inline Quat read(const float* p) { return {p[0], p[1], p[2], p[3]}; }
inline void write(Quat a, float* p) { p[0] = a.w, p[1] = a.x, p[2] = a.y, p[3] = a.z; }
inline float inverse_norm(Quat a) { return 1.0f / std::max(std::sqrt(dot(a, a)), kTiny); }
// Gradient of a / |a| given that of the result: u is the unit quaternion.
inline Quat through_normalise(Quat g, Quat u, float inverse) {
  const float along = dot(g, u);
  return scaled({g.w - along * u.w, g.x - along * u.x, g.y - along * u.y, g.z - along * u.z}, inverse);
}

inline void blend(const float* table, const int32_t* index, const float* weight, int k, float (&out)[kNode]) {
  for (float& v : out) v = 0.0f;
  for (int j = 0; j < k; ++j) {
    const float* node = table + static_cast<long>(kNode) * index[j];
    for (int c = 0; c < kNode; ++c) out[c] += weight[j] * node[c];
  }
}

}  // namespace
}  // namespace o4d

using namespace o4d;

// index (n, k), weight (n, k), table (views, nodes, 16), means (n, 3), quats (n, 4) -> (views, n, 3), (views, n, 4).
O4D_EXPORT void o4d_skin(int views, int n, int nodes, int k, int threads, const int32_t* index, const float* weight, const float* table,
                         const float* means, const float* quats, float* out_means, float* out_quats) {
  parallel_for(views, threads > 0 ? threads : default_threads(), [&](int v) {
    const float* nodes_of_view = table + static_cast<long>(v) * nodes * kNode;
    float b[kNode];
    for (int i = 0; i < n; ++i) {
      blend(nodes_of_view, index + static_cast<long>(k) * i, weight + static_cast<long>(k) * i, k, b);
      const long at = static_cast<long>(v) * n + i;
      const float* x = means + 3L * i;
      for (int r = 0; r < 3; ++r) out_means[3 * at + r] = b[3 * r] * x[0] + b[3 * r + 1] * x[1] + b[3 * r + 2] * x[2] + b[9 + r];
      const Quat turn = read(b + 12), own = read(quats + 4L * i);
      write(times(scaled(turn, inverse_norm(turn)), scaled(own, inverse_norm(own))), out_quats + 4 * at);
    }
  });
}

// The gradients of o4d_skin: d_table (views, nodes, 16) must be zeroed; d_means (views, n, 3) and d_quats (views, n, 4) are
// per view, for the caller to add up.
O4D_EXPORT void o4d_skin_backward(int views, int n, int nodes, int k, int threads, const int32_t* index, const float* weight, const float* table,
                                  const float* means, const float* quats, const float* grad_means, const float* grad_quats, float* d_table,
                                  float* d_means, float* d_quats) {
  parallel_for(views, threads > 0 ? threads : default_threads(), [&](int v) {
    const long first = static_cast<long>(v) * nodes * kNode;
    float b[kNode], g[kNode];
    for (int i = 0; i < n; ++i) {
      const int32_t* at_nodes = index + static_cast<long>(k) * i;
      const float* weights = weight + static_cast<long>(k) * i;
      blend(table + first, at_nodes, weights, k, b);
      const long at = static_cast<long>(v) * n + i;
      const float *x = means + 3L * i, *gm = grad_means + 3 * at;
      for (int r = 0; r < 3; ++r) {
        for (int c = 0; c < 3; ++c) g[3 * r + c] = gm[r] * x[c];
        g[9 + r] = gm[r];
        d_means[3 * at + r] = b[r] * gm[0] + b[3 + r] * gm[1] + b[6 + r] * gm[2];
      }
      const Quat turn = read(b + 12), own = read(quats + 4L * i), gq = read(grad_quats + 4 * at);
      const float turn_inverse = inverse_norm(turn), own_inverse = inverse_norm(own);
      const Quat turn_unit = scaled(turn, turn_inverse), own_unit = scaled(own, own_inverse);
      write(through_normalise(times(gq, conjugate(own_unit)), turn_unit, turn_inverse), g + 12);
      write(through_normalise(times(conjugate(turn_unit), gq), own_unit, own_inverse), d_quats + 4 * at);
      for (int j = 0; j < k; ++j) {
        float* node = d_table + first + static_cast<long>(kNode) * at_nodes[j];
        for (int c = 0; c < kNode; ++c) node[c] += weights[j] * g[c];
      }
    }
  });
}
