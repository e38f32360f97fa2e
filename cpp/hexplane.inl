// The ST-HexPlane's features of points at times, and their gradient. Included inside a namespace, after simd.inl.
//
// Channels lie innermost in a plane and never mix: kLanes of them go through everything in registers. At a point the three
// spatial planes are multiplied, at each time the three temporal planes, and then the two products.

// Where a coordinate falls between two cells: the lower one, the share of the upper one, and d(cell)/d(coordinate).
struct Cell {
  int low;
  float share, slope;
};

// [-1, 1] onto cells 0 .. cells - 1. Outside the border is read and nothing changes; NaN reads the first cell.
inline Cell locate(float unit, int cells) {
  const float top = static_cast<float>(cells - 1), at = (unit + 1.0f) * 0.5f * top;
  const float inside = std::min(std::max(0.0f, at), top);
  const int low = std::min(static_cast<int>(inside), cells - 2);
  return {low, inside - static_cast<float>(low), at > 0.0f && at < top ? 0.5f * top : 0.0f};
}

// kLanes channels, or the last few.
template <bool whole>
struct Block {
  int first, count;
  F read(const float* p) const { return whole ? load(p) : load_some(p, count); }
  void write(float* p, F v) const { whole ? store(p, v) : store_some(p, v, count); }
};

// Four neighbouring cells of a plane, as offsets, and their shares.
struct Patch {
  long at, right, below;
  float w00, w01, w10, w11;
};
inline Patch patch(Cell x, Cell y, int width, int channels) {
  const float w11 = x.share * y.share, w01 = x.share - w11, w10 = y.share - w11;
  return {(static_cast<long>(y.low) * width + x.low) * channels, channels, static_cast<long>(width) * channels, 1.0f - x.share - w10, w01, w10, w11};
}

template <bool whole>
inline F sample(const float* plane, const Patch& p, Block<whole> block) {
  const float *top = plane + p.at + block.first, *bottom = top + p.below;
  return all(p.w00) * block.read(top) + all(p.w01) * block.read(top + p.right) + (all(p.w10) * block.read(bottom) + all(p.w11) * block.read(bottom + p.right));
}

// The adjoint of `sample`.
template <bool whole>
inline void spread(float* plane, const Patch& p, Block<whole> block, F value) {
  float *top = plane + p.at + block.first, *bottom = top + p.below;
  block.write(top, block.read(top) + all(p.w00) * value);
  block.write(top + p.right, block.read(top + p.right) + all(p.w01) * value);
  block.write(bottom, block.read(bottom) + all(p.w10) * value);
  block.write(bottom + p.right, block.read(bottom + p.right) + all(p.w11) * value);
}

// d(sample)/dx and d(sample)/dy along the coordinates.
template <bool whole>
inline void derive(const float* plane, const Patch& p, Block<whole> block, Cell x, Cell y, F& dx, F& dy) {
  const float *top = plane + p.at + block.first, *bottom = top + p.below;
  const F v00 = block.read(top), v01 = block.read(top + p.right), v10 = block.read(bottom), v11 = block.read(bottom + p.right);
  dx = all(x.slope) * (v01 - v00 + all(y.share) * (v11 - v10 - (v01 - v00)));
  dy = all(y.slope) * (v10 - v00 + all(x.share) * (v11 - v01 - (v10 - v00)));
}

// One level of one call. The spatial planes see (x, y), (x, z), (y, z); the temporal ones (x, t), (y, t), (z, t).
constexpr int kAxes[3][2] = {{0, 1}, {0, 2}, {1, 2}};
struct Level {
  const HexPlanes& h;
  const HexLevel& l;
  long spatial_plane, temporal_plane;  // floats
  std::vector<Cell> clock;

  Level(const HexPlanes& planes, const HexLevel& level)
      : h(planes), l(level), spatial_plane(static_cast<long>(l.cells) * l.cells * h.channels),
        temporal_plane(static_cast<long>(l.cells) * l.knots * h.channels) {
    for (int v = 0; v < h.times; ++v) clock.push_back(locate(2.0f * h.clock[v] - 1.0f, l.knots));
  }
  long feature(int v, int i) const { return ((static_cast<long>(v) * h.count + i) * h.levels + (&l - h.level)) * h.channels; }
  void place(int i, Cell (&cell)[3], Patch (&spatial)[3]) const {
    for (int a = 0; a < 3; ++a) cell[a] = locate(h.points[3L * i + a], l.cells);
    for (int a = 0; a < 3; ++a) spatial[a] = patch(cell[kAxes[a][0]], cell[kAxes[a][1]], l.cells, h.channels);
  }
  Patch at_time(Cell cell, int v) const { return patch(cell, clock[v], l.cells, h.channels); }
};

template <bool whole>
void encode(const Level& level, Block<whole> block, int begin, int end, float* out) {
  const HexLevel& l = level.l;
  for (int i = begin; i < end; ++i) {
    Cell cell[3];
    Patch where[3];
    level.place(i, cell, where);
    F s = sample(l.spatial, where[0], block);
    for (int a = 1; a < 3; ++a) s *= sample(l.spatial + a * level.spatial_plane, where[a], block);
    for (int v = 0; v < level.h.times; ++v) {
      F product = s;
      for (int a = 0; a < 3; ++a) product *= sample(l.temporal + a * level.temporal_plane, level.at_time(cell[a], v), block);
      block.write(out + level.feature(v, i) + block.first, product);
    }
  }
}

template <bool whole>
void encode_backward(const Level& level, Block<whole> block, int begin, int end, const float* grad, float* d_spatial, float* d_temporal,
                     float* d_points) {
  const HexLevel& l = level.l;
  for (int i = begin; i < end; ++i) {
    Cell cell[3];
    Patch where[3];
    level.place(i, cell, where);
    F s[3], motion{}, dp[3] = {};
    for (int a = 0; a < 3; ++a) s[a] = sample(l.spatial + a * level.spatial_plane, where[a], block);
    const F still = s[0] * s[1] * s[2];
    for (int v = 0; v < level.h.times; ++v) {
      Patch when[3];
      F m[3];
      for (int a = 0; a < 3; ++a) {
        when[a] = level.at_time(cell[a], v);
        m[a] = sample(l.temporal + a * level.temporal_plane, when[a], block);
      }
      const F g = block.read(grad + level.feature(v, i) + block.first), gs = g * still;
      const F dm[3] = {gs * (m[1] * m[2]), gs * (m[0] * m[2]), gs * (m[0] * m[1])};
      motion += g * (m[0] * m[1] * m[2]);
      for (int a = 0; a < 3; ++a) {
        spread(d_temporal + a * level.temporal_plane, when[a], block, dm[a]);
        if (!d_points) continue;
        F along, unused;
        derive(l.temporal + a * level.temporal_plane, when[a], block, cell[a], level.clock[v], along, unused);
        dp[a] += dm[a] * along;
      }
    }
    const F ds[3] = {motion * (s[1] * s[2]), motion * (s[0] * s[2]), motion * (s[0] * s[1])};
    for (int a = 0; a < 3; ++a) {
      spread(d_spatial + a * level.spatial_plane, where[a], block, ds[a]);
      if (!d_points) continue;
      F dx, dy;
      derive(l.spatial + a * level.spatial_plane, where[a], block, cell[kAxes[a][0]], cell[kAxes[a][1]], dx, dy);
      dp[kAxes[a][0]] += ds[a] * dx, dp[kAxes[a][1]] += ds[a] * dy;
    }
    if (!d_points) continue;
    for (int a = 0; a < 3; ++a) {
      float sum = 0.0f;
      for (int lane = 0; lane < kLanes; ++lane) sum += dp[a][lane];
      d_points[3L * i + a] = sum;
    }
  }
}

template <bool whole>
void clear(Block<whole> block, long cells, int channels, float* planes) {
  for (long i = 0; i < cells; ++i) block.write(planes + i * channels + block.first, F{});
}

// Calls visit(Block) for the kLanes channels from `first`.
template <class Visit>
inline void with_block(int channels, int first, Visit&& visit) {
  if (channels - first >= kLanes) visit(Block<true>{first, kLanes});
  else visit(Block<false>{first, channels - first});
}

// All levels' features of points [begin, end).
void hexplane(const HexPlanes& h, int begin, int end, float* out) {
  for (int l = 0; l < h.levels; ++l) {
    const Level level(h, h.level[l]);
    for (int first = 0; first < h.channels; first += kLanes)
      with_block(h.channels, first, [&](auto block) { encode(level, block, begin, end, out); });
  }
}

// One level's gradients, of the kLanes channels from `first`, over points [begin, end): those of the planes are cleared
// first; those of the points are written, not added, and left out where null.
void hexplane_backward(const HexPlanes& h, int l, int first, int begin, int end, const float* grad, float* d_spatial, float* d_temporal,
                       float* d_points) {
  const Level level(h, h.level[l]);
  with_block(h.channels, first, [&](auto block) {
    clear(block, 3L * level.l.cells * level.l.cells, h.channels, d_spatial);
    clear(block, 3L * level.l.cells * level.l.knots, h.channels, d_temporal);
    encode_backward(level, block, begin, end, grad, d_spatial, d_temporal, d_points);
  });
}
