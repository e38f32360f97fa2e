// For benchmarks: what drawing one view consists of, step by step on the calling thread.
#include <algorithm>
#include <ctime>
#include <vector>

#include "export.h"
#include "session.h"

namespace o4d {
namespace {

// The least processor time of several runs, which other processes disturb less than they do the time of day.
template <class Step>
double least_seconds(int repeats, Step&& step) {
  double least = 0.0;
  for (int r = 0; r < repeats; ++r) {
    const std::clock_t start = std::clock();
    step();
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    least = r ? std::min(least, seconds) : seconds;
  }
  return least;
}

}  // namespace
}  // namespace o4d

using namespace o4d;

// Draws the first view and three channels of a session again. pairs: see Pairs. seconds: projection, depth order and counts,
// entries, forward, backward (of some gradient), chain rule.
O4D_EXPORT void o4d_measure(void* handle, int repeats, long long* pairs, double* seconds) {
  Session& session = *static_cast<Session*>(handle);
  const Inputs& in = session.in;
  const Kernels& kernel = kernels();
  BinnedView& view = session.views[0];
  const int tiles = view.across * view.down;
  const size_t n = in.count, plane = static_cast<size_t>(in.width) * in.height;
  if (session.records.empty()) session.records.resize(1);
  Record* records = session.records[0].resize(view.tile_start[tiles]);
  Splat* splats = view.splats.data();
  std::vector<float> radii(n), images(5 * plane), gradients((13 + 3 * in.groups) * n);
  float *rgb = images.data(), *alpha = rgb + 3 * plane, *depth = alpha + plane, *g = gradients.data();
  const Outputs out = {g, g + 3 * n, g + 7 * n, g + 10 * n, g + 13 * n, g + 11 * n};

  seconds[0] = least_seconds(repeats, [&] {
    kernel.project(in, 0, 0, in.count, splats, view.boxes.data(), view.keys.data(), radii.data());
    paint(in, 0, 0, 0, in.count, splats);
  });
  seconds[1] = least_seconds(repeats, [&] {
    sort_by_depth(view, in.count);
    count_entries(view, in.count, in.width, in.height);
  });
  seconds[2] = least_seconds(repeats, [&] { fill_entries(view, 0, view.down); });
  seconds[3] = least_seconds(repeats, [&] {
    for (int t = 0; t < tiles; ++t) kernel.forward(tile_of(in, view, t), splats, {rgb, alpha, depth});
  });
  seconds[4] = least_seconds(repeats, [&] {
    for (int t = 0; t < tiles; ++t) kernel.backward(tile_of(in, view, t), splats, {rgb, alpha, depth}, {rgb, alpha, depth}, records);
  });
  seconds[5] = least_seconds(repeats, [&] { kernel.unproject(in, 0, 0, 0, in.count, records, view.first_record.data(), out); });

  Pairs sum = {};
  for (int t = 0; t < tiles; ++t) kernel.count(tile_of(in, view, t), splats, sum);
  pairs[0] = sum.listed, pairs[1] = sum.evaluated, pairs[2] = sum.contributing;
}
