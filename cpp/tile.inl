// The tile kernels. Both walk a tile's list from near to far; of each splat they visit only the rows, and in a row only
// the columns, where alpha reaches 1/255. Included inside a namespace, after simd.inl.

// A vector is kCols columns of kRows rows. Pixels lie so that it can start at any column: in a band of kRows rows the
// columns follow each other, each holding its kRows pixels; 8 columns of padding stay transparent (t = 0).
constexpr int kRows = kLanes / 8, kCols = 8, kBands = kTile / kRows, kBand = (kTile + kCols) * kRows, kPlane = kBands * kBand;
inline int place(int y, int x) { return y / kRows * kBand + x * kRows + y % kRows; }

struct alignas(64) Ramp {
  float x[kLanes], y[kLanes], row[kTile];
};
constexpr Ramp make_ramp() {
  Ramp r{};
  for (int i = 0; i < kLanes; ++i) r.x[i] = static_cast<float>(i / kRows), r.y[i] = static_cast<float>(i % kRows);
  for (int i = 0; i < kTile; ++i) r.row[i] = static_cast<float>(i);
  return r;
}
constexpr Ramp kRamp = make_ramp();

struct alignas(64) Planes {
  float t[kPlane], r[kPlane], g[kPlane], b[kPlane], z[kPlane];
};

inline bool finished(const float* t) {
  for (int i = 0; i < kPlane; i += kLanes)
    if (any(above(load(t + i), all(kStop)))) return false;
  return true;
}

// Columns [first, last) of every row that the splat touches, within the tile, a tenth of a pixel wider than its ellipse.
struct alignas(64) Columns {
  int32_t first[kTile], last[kTile];
};
inline void find_columns(const Splat& s, const Tile& tile, Columns& out) {
  const float x = s.x - static_cast<float>(tile.x), y = static_cast<float>(tile.y) + 0.5f - s.y;
  for (int row = 0; row < kTile; row += kLanes) {
    const F dy = load(kRamp.row + row) + y;
    const F d = s.reach - s.bend * dy * dy;
    const Mask touched = above(d, all(0.0f));
    const F half = square_root(maximum(d, all(0.0f))) * s.inverse, center = x - s.slope * dy;
    store_truncated(out.first + row, choose(touched, clamp(center - half + 0.4f, 0.0f, kTile), all(kTile)));
    store_truncated(out.last + row, choose(touched, clamp(center + half + 0.6f, 0.0f, kTile), all(0.0f)));
  }
}

// Calls visit(offset into the planes, dx, dy) for the groups of pixels that splat s may touch.
template <class Visit>
inline void walk(const Splat& s, const Tile& tile, Visit&& visit) {
  Columns columns;
  find_columns(s, tile, columns);
  const int low = std::max(static_cast<int>(s.y0) - tile.y, 0), high = std::min(static_cast<int>(s.y1) - tile.y, kTile);
  const F ramp_x = load(kRamp.x) + (static_cast<float>(tile.x) + 0.5f - s.x), ramp_y = load(kRamp.y) + (static_cast<float>(tile.y) + 0.5f - s.y);
  for (int row = low / kRows * kRows; row < high; row += kRows) {
    int first = columns.first[row], last = columns.last[row];
    if (kRows == 2) first = std::min(first, columns.first[row + 1]), last = std::max(last, columns.last[row + 1]);
    if (first >= last) continue;
    const F dy = ramp_y + static_cast<float>(row);
    const int band = row / kRows * kBand;
    for (int column = first; column < last; column += kCols) visit(band + column * kRows, ramp_x + static_cast<float>(column), dy);
  }
}

inline int visible_rows(const Tile& tile) { return std::min(kTile, tile.height - tile.y); }
inline int visible_columns(const Tile& tile) { return std::min(kTile, tile.width - tile.x); }

void count_pairs(const Tile& tile, const Splat* splats, Pairs& pairs) {
  alignas(64) float transmittance[kPlane] = {};
  const int rows = visible_rows(tile), cols = visible_columns(tile);
  for (int y = 0; y < rows; ++y)
    for (int x = 0; x < cols; ++x) transmittance[place(y, x)] = 1.0f;
  pairs.listed += static_cast<int64_t>(tile.count) * rows * cols;
  for (int i = 0; i < tile.count; ++i) {
    if ((i & 31) == 31 && finished(transmittance)) break;
    const Splat& s = splats[tile.list[i].splat];
    walk(s, tile, [&](int at, F dx, F dy) {
      const F t = load(transmittance + at);
      const F raw = exp2_of(dx * (s.a * dx + s.b * dy) + (s.c * dy * dy + s.log2_opacity));
      const Mask live = at_least(raw, all(kAlphaMin)) & above(t, all(kStop));
      store(transmittance + at, t - choose(live, minimum(raw, all(kAlphaMax)), all(0.0f)) * t);
      pairs.evaluated += kLanes, pairs.contributing += number(live);
    });
  }
}

void forward(const Tile& tile, const Splat* splats, const Image& image) {
  Planes p;
  std::memset(&p, 0, sizeof p);
  const int rows = visible_rows(tile), cols = visible_columns(tile);
  for (int y = 0; y < rows; ++y)
    for (int x = 0; x < cols; ++x) p.t[place(y, x)] = 1.0f;
  for (int i = 0; i < tile.count; ++i) {
    if ((i & 31) == 31 && finished(p.t)) break;
    const Splat& s = splats[tile.list[i].splat];
    walk(s, tile, [&](int at, F dx, F dy) {
      const F t = load(p.t + at);
      const F raw = exp2_of(dx * (s.a * dx + s.b * dy) + (s.c * dy * dy + s.log2_opacity));
      const Mask live = at_least(raw, all(kAlphaMin)) & above(t, all(kStop));
      const F w = choose(live, minimum(raw, all(kAlphaMax)), all(0.0f)) * t;
      store(p.r + at, load(p.r + at) + w * s.color[0]);
      store(p.g + at, load(p.g + at) + w * s.color[1]);
      store(p.b + at, load(p.b + at) + w * s.color[2]);
      store(p.z + at, load(p.z + at) + w * s.depth);
      store(p.t + at, t - w);
    });
  }
  const long plane = static_cast<long>(tile.width) * tile.height;
  for (int y = 0; y < rows; ++y)
    for (int x = 0; x < cols; ++x) {
      const long at = static_cast<long>(tile.y + y) * tile.width + tile.x + x;
      const int in = place(y, x);
      image.rgb[at] = p.r[in];
      image.rgb[plane + at] = p.g[in];
      image.rgb[2 * plane + at] = p.b[in];
      const float alpha = 1.0f - p.t[in];
      image.alpha[at] = alpha;
      image.depth[at] = alpha > kDepthAlpha ? p.z[in] / alpha : 0.0f;
    }
}

#if defined(__AVX512F__) && defined(O4D_WIDE)
// The sums of ten vectors, by halving: 33 instructions where ten separate sums take about 80.
inline void add_up(const F (&v)[10], Record& out) {
  F half[5], quarter[3];
  for (int i = 0; i < 5; ++i) half[i] = _mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0x44) + _mm512_shuffle_f32x4(v[2 * i], v[2 * i + 1], 0xee);
  for (int i = 0; i < 3; ++i) {
    const F a = half[2 * i], b = i == 2 ? F{} : half[2 * i + 1];
    quarter[i] = _mm512_shuffle_f32x4(a, b, 0x88) + _mm512_shuffle_f32x4(a, b, 0xdd);
  }
  const F a = _mm512_shuffle_ps(quarter[0], quarter[1], 0x88) + _mm512_shuffle_ps(quarter[0], quarter[1], 0xdd);
  const F b = _mm512_shuffle_ps(quarter[2], F{}, 0x88) + _mm512_shuffle_ps(quarter[2], F{}, 0xdd);
  const F mixed = _mm512_shuffle_ps(a, b, 0x88) + _mm512_shuffle_ps(a, b, 0xdd);  // lane 4 l + k holds the sum of v[4 k + l]
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_store_ps(out.sums, _mm512_permutexvar_ps(order, mixed));
}
#else
inline void add_up(const F (&v)[10], Record& out) {
  std::memset(&out, 0, sizeof out);
  for (int i = 0; i < 10; ++i) out.sums[i] = ((v[i][0] + v[i][4]) + (v[i][1] + v[i][5])) + ((v[i][2] + v[i][6]) + (v[i][3] + v[i][7]));
}
#endif

// With q_i = c_i . dL/dC + z_i dL/dD + dL/dA, w_i = alpha_i T_i and Q = sum_i w_i q_i (known from the forward images):
// (D here is the accumulated depth z: the image holds z / A, which the loss differentiates.)
//     dL/dalpha_i = T_i q_i - (Q - sum_{j <= i} w_j q_j) / (1 - alpha_i)
// so the same near-to-far walk recomputes T_i exactly as the forward pass did.
void backward(const Tile& tile, const Splat* splats, const Image& image, const ImageGrad& grad, Record* records) {
  Planes p;  // t: transmittance; r, g, b, z: the pixel's gradients
  std::memset(&p, 0, sizeof p);
  alignas(64) float ga[kPlane] = {}, rest[kPlane] = {};
  const int rows = visible_rows(tile), cols = visible_columns(tile);
  const long plane = static_cast<long>(tile.width) * tile.height;
  for (int y = 0; y < rows; ++y)
    for (int x = 0; x < cols; ++x) {
      const long from = static_cast<long>(tile.y + y) * tile.width + tile.x + x;
      const int at = place(y, x);
      p.t[at] = 1.0f;
      p.r[at] = grad.rgb[from];
      p.g[at] = grad.rgb[plane + from];
      p.b[at] = grad.rgb[2 * plane + from];
      const float alpha = image.alpha[from], depth = image.depth[from];
      p.z[at] = alpha > kDepthAlpha ? grad.depth[from] / alpha : 0.0f;
      ga[at] = grad.alpha[from] - depth * p.z[at];
      rest[at] = image.rgb[from] * p.r[at] + image.rgb[plane + from] * p.g[at] + image.rgb[2 * plane + from] * p.b[at] +
                 alpha * grad.alpha[from];  // the two terms of the depth cancel
    }
  for (int i = 0; i < tile.count; ++i) {
    if ((i & 31) == 31 && finished(p.t)) {
      for (; i < tile.count; ++i) std::memset(records + tile.list[i].record, 0, sizeof(Record));
      return;
    }
    const Splat& s = splats[tile.list[i].splat];
    F v[10] = {};
    walk(s, tile, [&](int at, F dx, F dy) {
      const F t = load(p.t + at);
      const F raw = exp2_of(dx * (s.a * dx + s.b * dy) + (s.c * dy * dy + s.log2_opacity));
      const Mask live = at_least(raw, all(kAlphaMin)) & above(t, all(kStop));
      if (!any(live)) return;
      const F alpha = choose(live, minimum(raw, all(kAlphaMax)), all(0.0f));
      const F w = alpha * t;
      const F gr = load(p.r + at), gg = load(p.g + at), gb = load(p.b + at), gz = load(p.z + at);
      const F q = s.color[0] * gr + (s.color[1] * gg + (s.color[2] * gb + (s.depth * gz + load(ga + at))));
      const F behind = load(rest + at) - w * q;
      store(rest + at, behind);
      store(p.t + at, t - w);
      const F u = choose(above(all(kAlphaMax), raw), alpha * (t * q - behind * reciprocal(1.0f - alpha)), all(0.0f));
      const F ux = u * dx, uy = u * dy;
      v[0] += u, v[1] += ux, v[2] += uy, v[3] += ux * dx, v[4] += ux * dy, v[5] += uy * dy;
      v[6] += w * gr, v[7] += w * gg, v[8] += w * gb, v[9] += w * gz;
    });
    add_up(v, records[tile.list[i].record]);
  }
}
