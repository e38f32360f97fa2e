// The C ABI of colours from spherical harmonics of 4, 9 or 16 coefficients. Gaussians run in parallel, each one's views in order.
#include <algorithm>

#include "export.h"
#include "kernel.h"
#include "pool.h"

using namespace o4d;

namespace {
constexpr int kChunk = 512;

template <class Work>
void in_chunks(int n, int threads, Work&& work) {
  parallel_for((n + kChunk - 1) / kChunk, threads > 0 ? threads : default_threads(),
               [&](int job) { work(job * kChunk, std::min(n, (job + 1) * kChunk)); });
}
}  // namespace

// sh (n, coefficients, 3), means (n, 3), camera positions (views, 3) -> colours (views, n, 3).
O4D_EXPORT void o4d_shade(int views, int n, int coefficients, int threads, const float* sh, const float* means, const float* positions,
                          float* colors) {
  const Shading in = {views, n, coefficients, sh, means, positions};
  in_chunks(n, threads, [&](int begin, int end) { kernels().shade(in, begin, end, colors); });
}

// The gradient of the colours -> that of sh.
O4D_EXPORT void o4d_shade_backward(int views, int n, int coefficients, int threads, const float* means, const float* positions,
                                   const float* colors, const float* grad, float* d_sh) {
  const Shading in = {views, n, coefficients, nullptr, means, positions};
  in_chunks(n, threads, [&](int begin, int end) { kernels().shade_backward(in, begin, end, colors, grad, d_sh); });
}
