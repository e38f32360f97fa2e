// The C ABI of the ST-HexPlane. Planes lie channels innermost: (3, height, width, channels).
//
// Deterministic: the work is cut into levels, blocks of channels, which share nothing, and chunks of points whose number
// depends on the input alone. Each chunk adds to gradient planes of its own; these are then added in order.
#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "export.h"
#include "kernel.h"
#include "pool.h"

namespace o4d {
namespace {

constexpr int kForwardSamples = 512, kBackwardSamples = 8192, kMaxChunks = 8;

// sizes: cells and knots of each level; planes: spatial and temporal stack of each level.
std::vector<HexLevel> levels_of(int levels, const int* sizes, const float* const* planes) {
  std::vector<HexLevel> out;
  for (int l = 0; l < levels; ++l) out.push_back({sizes[2 * l], sizes[2 * l + 1], planes[2 * l], planes[2 * l + 1]});
  return out;
}

}  // namespace
}  // namespace o4d

using namespace o4d;

// points (n, 3) in [-1, 1], times (v) in [0, 1] -> features (v, n, levels x channels). False: no memory.
O4D_EXPORT bool o4d_hexplane(int n, int v, int levels, int channels, int threads, const int* sizes, const float* const* planes,
                             const float* points, const float* times, float* out) try {
  const std::vector<HexLevel> level = levels_of(levels, sizes, planes);
  const HexPlanes h = {n, v, levels, channels, points, times, level.data()};
  const int chunk = std::max(1, kForwardSamples / std::max(1, v));
  parallel_for((n + chunk - 1) / chunk, threads > 0 ? threads : default_threads(),
               [&](int job) { kernels().hexplane(h, job * chunk, std::min(n, (job + 1) * chunk), out); });
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

// grad (v, n, levels x channels) -> d_planes, shaped like planes, and d_points (n, 3), which may be null. False: no memory.
O4D_EXPORT bool o4d_hexplane_backward(int n, int v, int levels, int channels, int threads, const int* sizes, const float* const* planes,
                                      const float* points, const float* times, const float* grad, float* const* d_planes,
                                      float* d_points) try {
  const std::vector<HexLevel> level = levels_of(levels, sizes, planes);
  const HexPlanes h = {n, v, levels, channels, points, times, level.data()};
  const Kernels& kernel = kernels();
  threads = threads > 0 ? threads : default_threads();
  const int blocks = (channels + kernel.lanes - 1) / kernel.lanes, parts = levels * blocks;
  const int chunks = static_cast<int>(std::clamp(static_cast<long>(n) * v / kBackwardSamples, 1L, static_cast<long>(kMaxChunks)));

  // The first chunk adds to the caller's planes, the others to planes of their own.
  std::vector<size_t> start(2 * levels + 1, 0);
  for (int l = 0; l < levels; ++l)
    for (int k = 0; k < 2; ++k) start[2 * l + k + 1] = start[2 * l + k] + 3L * channels * level[l].cells * (k ? level[l].knots : level[l].cells);
  const size_t size = start.back();
  std::unique_ptr<float[]> more(new float[size * (chunks - 1)]);
  auto plane = [&](int chunk, int number) { return chunk ? more.get() + size * (chunk - 1) + start[number] : d_planes[number]; };
  const size_t point_floats = 3 * static_cast<size_t>(n);
  std::unique_ptr<float[]> point_parts(d_points ? new float[point_floats * parts] : nullptr);

  parallel_for(chunks * parts, threads, [&](int job) {
    const int chunk = job / parts, part = job % parts, l = part / blocks;
    const int begin = static_cast<int>(static_cast<long>(n) * chunk / chunks), end = static_cast<int>(static_cast<long>(n) * (chunk + 1) / chunks);
    kernel.hexplane_backward(h, l, part % blocks * kernel.lanes, begin, end, grad, plane(chunk, 2 * l), plane(chunk, 2 * l + 1),
                             d_points ? point_parts.get() + point_floats * part : nullptr);
  });
  if (chunks > 1)
    parallel_for(2 * levels, threads, [&](int number) {
      float* sum = d_planes[number];
      for (int chunk = 1; chunk < chunks; ++chunk) {
        const float* other = plane(chunk, number);
        for (size_t i = 0; i < start[number + 1] - start[number]; ++i) sum[i] += other[i];
      }
    });
  for (size_t i = 0; d_points && i < point_floats; ++i) {
    d_points[i] = 0.0f;
    for (int part = 0; part < parts; ++part) d_points[i] += point_parts[point_floats * part + i];
  }
  return true;
} catch (const std::bad_alloc&) {
  return false;
}
