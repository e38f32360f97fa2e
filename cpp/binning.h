// From projected Gaussians to a depth-ordered list for every tile.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernel.h"

namespace o4d {

// Memory that grows, is never initialised and keeps its pages between calls.
template <class T>
class Buffer {
 public:
  T* resize(size_t count) {
    if (count > capacity) {
      capacity = count + count / 4;
      memory.reset(new T[capacity]);
    }
    return memory.get();
  }
  T* data() { return memory.get(); }
  const T* data() const { return memory.get(); }
  T& operator[](size_t i) { return memory[i]; }
  const T& operator[](size_t i) const { return memory[i]; }

 private:
  std::unique_ptr<T[]> memory;
  size_t capacity = 0;
};

// A Gaussian in depth order. The box is copied, so that bands find theirs without reading all over memory.
struct Ordered {
  TileBox box;
  int32_t index;
};

// One view's splats and tile lists: tile t holds entries tile_start[t] .. tile_start[t + 1]; the records of Gaussian i
// are first_record[i] .. first_record[i + 1], in tile order.
struct BinnedView {
  Buffer<Splat> splats;
  Buffer<TileBox> boxes;
  Buffer<uint32_t> keys;
  Buffer<int32_t> tile_start, first_record;
  Buffer<Ordered> order;
  Buffer<Entry> entries;
  Buffer<uint64_t> sort_a, sort_b;
  int across = 0, down = 0, visible = 0;
};

// The visible Gaussians' order by depth, ties by index.
void sort_by_depth(BinnedView& view, int count);
// Counts and offsets of the entries, which do not depend on the order: both may run at the same time. False, with nothing to
// be used, where there would be more than kMaxEntries.
constexpr int64_t kMaxEntries = 1 << 26;
bool count_entries(BinnedView& view, int count, int width, int height);
// The first tile row of a band, of `bands` that hold about as many entries each.
int band_start(const BinnedView& view, int band, int bands);
// The entries of the tile rows [begin, end). Bands may run at the same time.
void fill_entries(BinnedView& view, int begin, int end);

}  // namespace o4d
