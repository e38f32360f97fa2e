// What one call of the rasteriser leaves for its way back.
#pragma once
#include <cstring>
#include <vector>

#include "binning.h"
#include "kernel.h"

namespace o4d {

struct Session {
  Inputs in;
  std::vector<BinnedView> views;
  std::vector<Buffer<Record>> records;
  const float *rgb, *alpha, *depth;
};

inline Tile tile_of(const Inputs& in, const BinnedView& view, int t) {
  const int start = view.tile_start[t];
  return {t % view.across * kTile, t / view.across * kTile, in.width, in.height, view.entries.data() + start, view.tile_start[t + 1] - start};
}

// Colours of Gaussians [begin, end) in the channels of one group.
inline void paint(const Inputs& in, int view, int group, int begin, int end, Splat* splats) {
  const long channels = 3L * in.groups;
  const float* from = in.colors + view * in.colors_stride + 3 * group;
  for (int i = begin; i < end; ++i) std::memcpy(splats[i].color, from + channels * i, sizeof splats[i].color);
}

}  // namespace o4d
