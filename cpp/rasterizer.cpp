// The C ABI: project, bin, draw; and the way back. Every array is contiguous float32 owned by the caller.
//
// Deterministic: results do not depend on the number of threads. Every (tile, Gaussian) pair writes a record of its own,
// which are then added per Gaussian in tile order; nothing is accumulated atomically.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "export.h"
#include "kernel.h"
#include "pool.h"
#include "session.h"

namespace o4d {
namespace {

// Sessions of earlier calls, kept for their memory: fresh pages cost more than the arithmetic of a small scene.
std::mutex spare_guard;
std::vector<std::unique_ptr<Session>> spare;
constexpr size_t kSpare = 2;

std::unique_ptr<Session> take_session() {
  std::lock_guard<std::mutex> lock(spare_guard);
  if (spare.empty()) return std::make_unique<Session>();
  std::unique_ptr<Session> session = std::move(spare.back());
  spare.pop_back();
  return session;
}

constexpr int kChunk = 512;

void paint_all(Session& session, int group) {
  const Inputs& in = session.in;
  const int chunks = (in.count + kChunk - 1) / kChunk;
  parallel_for(in.views * chunks, in.threads, [&](int job) {
    const int begin = job % chunks * kChunk;
    paint(in, job / chunks, group, begin, std::min(in.count, begin + kChunk), session.views[job / chunks].splats.data());
  });
}

}  // namespace
}  // namespace o4d

using namespace o4d;

O4D_EXPORT int o4d_abi_version() { return 8; }

O4D_EXPORT int o4d_default_threads() { return default_threads(); }

// Whether none of `count` floats is NaN or infinite: one is added to exponents, and only theirs overflow.
O4D_EXPORT bool o4d_finite(long long count, const float* values) {
  uint32_t overflow = 0;
  for (long long i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, sizeof bits);
    overflow |= (bits & 0x7f800000u) + 0x00800000u;
  }
  return overflow >> 31 == 0;
}

// Draws all views: colours (n, 3 groups) -> rgb (views, 3 groups, height, width). More than three channels are drawn three at a
// time by the one kernel: each group walks the lists again, projection and binning are shared. Returns a session for o4d_backward; free it with o4d_free. The arrays must outlive the session.
// Null where the Gaussians would cover too many tiles (kMaxEntries a view) or memory ran out.
// strides: means, quats, log_scales, opacities, colors: floats from one view to the next, 0 where shared.
O4D_EXPORT void* o4d_forward(int views, int count, int width, int height, int groups, int threads, const float* means,
                             const float* quats, const float* log_scales, const float* opacities, const float* colors, const long long* strides,
                             const float* world_to_camera, const float* intrinsics, float* rgb, float* alpha, float* depth, float* radii) try {
  std::unique_ptr<Session> session = take_session();
  session->in = {views, count, width, height, groups, threads > 0 ? threads : default_threads(), means, quats, log_scales, opacities, colors,
                 static_cast<long>(strides[0]), static_cast<long>(strides[1]), static_cast<long>(strides[2]), static_cast<long>(strides[3]),
                 static_cast<long>(strides[4]), world_to_camera, intrinsics};
  session->rgb = rgb, session->alpha = alpha, session->depth = depth;
  const Inputs& in = session->in;
  std::vector<BinnedView>& binned = session->views;
  if (binned.size() < static_cast<size_t>(views)) binned.resize(views);
  for (int v = 0; v < views; ++v) binned[v].splats.resize(count), binned[v].boxes.resize(count), binned[v].keys.resize(count);
  const Kernels& kernel = kernels();
  const int chunks = (count + kChunk - 1) / kChunk;
  parallel_for(views * chunks, in.threads, [&](int job) {
    const int v = job / chunks, begin = job % chunks * kChunk;
    BinnedView& view = binned[v];
    kernel.project(in, v, begin, std::min(count, begin + kChunk), view.splats.data(), view.boxes.data(), view.keys.data(),
                   radii + static_cast<long>(v) * count);
    paint(in, v, 0, begin, std::min(count, begin + kChunk), view.splats.data());
  });
  std::atomic<bool> fits{true};
  parallel_for(2 * views, in.threads, [&](int job) {
    BinnedView& view = binned[job / 2];
    if (job % 2) sort_by_depth(view, count);
    else if (!count_entries(view, count, width, height)) fits = false;
  });
  if (!fits) return nullptr;
  const int down = (height + kTile - 1) / kTile, tiles = down * ((width + kTile - 1) / kTile);
  const int bands = std::min(down, std::max(1, (in.threads + views - 1) / views));
  parallel_for(views * bands, in.threads, [&](int job) {
    const int v = job / bands, band = job % bands;
    fill_entries(binned[v], band_start(binned[v], band, bands), band_start(binned[v], band + 1, bands));
  });
  const long plane = static_cast<long>(width) * height;
  for (int group = 0; group < groups; ++group) {
    if (group) paint_all(*session, group);
    parallel_for(views * tiles, in.threads, [&](int job) {
      const int v = job / tiles;
      kernel.forward(tile_of(in, binned[v], job % tiles), binned[v].splats.data(),
                     {rgb + 3 * plane * (groups * v + group), alpha + plane * v, depth + plane * v});
    });
  }
  return session.release();
} catch (const std::bad_alloc&) {
  return nullptr;
}

// Gradients per view; the caller adds views up where a parameter is shared. Outputs must be zeroed. False: out of memory.
O4D_EXPORT bool o4d_backward(void* handle, const float* grad_rgb, const float* grad_alpha, const float* grad_depth, float* means,
                             float* quats, float* log_scales, float* opacities, float* colors, float* means2d) try {
  Session& session = *static_cast<Session*>(handle);
  const Inputs& in = session.in;
  const int tiles = ((in.width + kTile - 1) / kTile) * ((in.height + kTile - 1) / kTile);
  const long plane = static_cast<long>(in.width) * in.height;
  if (session.records.size() < static_cast<size_t>(in.views)) session.records.resize(in.views);
  for (int v = 0; v < in.views; ++v) session.records[v].resize(session.views[v].tile_start[tiles]);
  const Kernels& kernel = kernels();
  const int chunks = (in.count + kChunk - 1) / kChunk;
  const Outputs out = {means, quats, log_scales, opacities, colors, means2d};
  // Gradients of alpha and depth go with the first group; in the others they are zero.
  const std::vector<float> nothing(in.groups > 1 ? plane : 0);
  for (int group = 0; group < in.groups; ++group) {
    if (in.groups > 1) paint_all(session, group);
    parallel_for(in.views * tiles, in.threads, [&](int job) {
      const int v = job / tiles;
      const long colors_at = 3 * plane * (in.groups * v + group);
      const Image image = {const_cast<float*>(session.rgb) + colors_at, const_cast<float*>(session.alpha) + plane * v,
                           const_cast<float*>(session.depth) + plane * v};
      const ImageGrad grad = {grad_rgb + colors_at, group ? nothing.data() : grad_alpha + plane * v, group ? nothing.data() : grad_depth + plane * v};
      kernel.backward(tile_of(in, session.views[v], job % tiles), session.views[v].splats.data(), image, grad, session.records[v].data());
    });
    parallel_for(in.views * chunks, in.threads, [&](int job) {
      const int v = job / chunks, begin = job % chunks * kChunk;
      kernel.unproject(in, v, group, begin, std::min(in.count, begin + kChunk), session.records[v].data(), session.views[v].first_record.data(), out);
    });
  }
  return true;
} catch (const std::bad_alloc&) {
  return false;
}

O4D_EXPORT void o4d_free(void* handle) {
  std::unique_ptr<Session> session(static_cast<Session*>(handle));
  std::lock_guard<std::mutex> lock(spare_guard);
  if (spare.size() < kSpare) spare.push_back(std::move(session));
}

// Sums of SSIM of `planes` pairs of planes; gradient (unless null): d(scale * sum of all)/da.
O4D_EXPORT void o4d_similarity(int planes, int height, int width, int threads, const float* a, const float* b, float scale, double* sums,
                               float* gradient) {
  const long size = static_cast<long>(height) * width;
  const Kernels& kernel = kernels();
  parallel_for(planes, threads > 0 ? threads : default_threads(), [&](int p) {
    sums[p] = kernel.similarity(a + size * p, b + size * p, height, width, scale, gradient ? gradient + size * p : nullptr);
  });
}
