#include "binning.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace o4d {
namespace {

bool empty(TileBox b) { return b.x1 < b.x0; }

}  // namespace

// Radix sort of the visible Gaussians: the key above, the index below; only the digits in which keys differ.
void sort_by_depth(BinnedView& view, int count) {
  uint64_t *from = view.sort_a.resize(count), *to = view.sort_b.resize(count);
  uint32_t low = UINT32_MAX, high = 0;
  int n = 0;
  for (int i = 0; i < count; ++i) {
    if (empty(view.boxes[i])) continue;
    const uint32_t key = view.keys[i];
    low = std::min(low, key), high = std::max(high, key);
    from[n++] = static_cast<uint64_t>(key) << 32 | static_cast<uint32_t>(i);
  }
  view.visible = n;
  constexpr int kBits = 11, kDigits = 1 << kBits;
  const uint64_t base = static_cast<uint64_t>(low) << 32;
  for (int shift = 0; n && shift < 32 && (high - low) >> shift; shift += kBits) {
    uint32_t start[kDigits + 1] = {};
    auto digit = [&](uint64_t item) { return static_cast<uint32_t>((item - base) >> (32 + shift)) & (kDigits - 1); };
    for (int i = 0; i < n; ++i) ++start[digit(from[i]) + 1];
    std::partial_sum(start, start + kDigits + 1, start);
    for (int i = 0; i < n; ++i) to[start[digit(from[i])]++] = from[i];
    std::swap(from, to);
  }
  Ordered* order = view.order.resize(n);
  for (int i = 0; i < n; ++i) {
    const uint32_t index = static_cast<uint32_t>(from[i]);
    order[i] = {view.boxes[index], static_cast<int32_t>(index)};
  }
}

bool count_entries(BinnedView& view, int count, int width, int height) {
  view.across = (width + kTile - 1) / kTile, view.down = (height + kTile - 1) / kTile;
  const int stride = view.across + 1, tiles = view.across * view.down;
  int32_t* starts = view.tile_start.resize(static_cast<size_t>(tiles) + 1);
  int32_t* first = view.first_record.resize(static_cast<size_t>(count) + 1);
  // Four corners of each box, then sums along both axes, count the boxes over every tile.
  std::vector<int32_t> corners(static_cast<size_t>(stride) * (view.down + 1), 0);
  int64_t total = 0;
  for (int i = 0; i < count; ++i) {
    const TileBox b = view.boxes[i];
    first[i] = static_cast<int32_t>(total);
    if (empty(b)) continue;
    ++corners[b.y0 * stride + b.x0], --corners[b.y0 * stride + b.x1 + 1];
    --corners[(b.y1 + 1) * stride + b.x0], ++corners[(b.y1 + 1) * stride + b.x1 + 1];
    total += (b.x1 - b.x0 + 1) * (b.y1 - b.y0 + 1);
    if (total > kMaxEntries) return false;
  }
  first[count] = static_cast<int32_t>(total);
  int32_t running = 0;
  for (int y = 0; y < view.down; ++y) {
    int32_t along = 0;
    for (int x = 0; x < view.across; ++x) {
      int32_t& above = corners[y * stride + x];
      along += above;
      above = along + (y ? corners[(y - 1) * stride + x] : 0);
      starts[y * view.across + x] = running;
      running += above;
    }
  }
  starts[tiles] = running;
  view.entries.resize(running);
  return true;
}

int band_start(const BinnedView& view, int band, int bands) {
  const int64_t before = static_cast<int64_t>(view.tile_start[view.down * view.across]) * band / bands;
  int row = 0;
  while (row < view.down && view.tile_start[row * view.across] < before) ++row;
  return band == bands ? view.down : row;
}

void fill_entries(BinnedView& view, int begin, int end) {
  std::vector<int32_t> cursor(view.tile_start.data() + begin * view.across, view.tile_start.data() + end * view.across);
  for (int j = 0; j < view.visible; ++j) {
    const auto [b, i] = view.order[j];
    const int low = std::max<int>(b.y0, begin), high = std::min<int>(b.y1 + 1, end), wide = b.x1 - b.x0 + 1;
    if (low >= high) continue;
    int32_t record = view.first_record[i] + (low - b.y0) * wide;
    for (int y = low; y < high; ++y)
      for (int x = b.x0; x <= b.x1; ++x) view.entries[cursor[(y - begin) * view.across + x]++] = {i, record++};
  }
}

}  // namespace o4d
