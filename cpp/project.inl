// From world space to the image plane and back, kLanes Gaussians at a time. Included inside a namespace, after simd.inl.

constexpr float kLog2E = 1.44269504f;

struct View {
  const float* w;  // world to camera, 4 x 4
  float fx, fy, cx, cy, limit_x, limit_y;
};

inline View view_of(const Inputs& in, int view) {
  const float* k = in.intrinsics + 9L * view;
  // 1.3 half-frames: beyond that the linearised projection of a Gaussian's extent means nothing.
  return {in.world_to_camera + 16L * view, k[0], k[4], k[2], k[5], 0.65f * in.width / k[0], 0.65f * in.height / k[4]};
}

// kLanes rows of `width` floats as `width` vectors; lanes beyond `count` repeat the last row.
template <int width>
inline void gather(const float* rows, int begin, int count, F (&out)[width]) {
  alignas(64) float turned[width][kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const float* row = rows + static_cast<long>(width) * (begin + std::min(lane, count - 1));
    for (int c = 0; c < width; ++c) turned[c][lane] = row[c];
  }
  for (int c = 0; c < width; ++c) out[c] = load(turned[c]);
}

// Writes `width` vectors to rows that lie `stride` floats apart, or adds them.
template <bool add, int width>
inline void scatter(const F (&values)[width], float* rows, long stride, int count) {
  alignas(64) float turned[width][kLanes];
  for (int c = 0; c < width; ++c) store(turned[c], values[c]);
  for (int lane = 0; lane < count; ++lane)
    for (int c = 0; c < width; ++c) rows[stride * lane + c] = turned[c][lane] + (add ? rows[stride * lane + c] : 0.0f);
}

// Everything about a projection that both directions need.
struct Projected {
  F p[3];           // camera coordinates
  F iz;             // 1 / z
  F q[4], inverse;  // unit quaternion, 1 / norm
  F r[3][3];        // its rotation
  F scale[3];
  F v[2][3];        // J W
  F t[2][3];        // J W R S
  F xz, yz;         // clamped x / z, y / z
  Mask clamped_x, clamped_y;
  F cxx, cxy, cyy, det;  // 2D covariance with the low-pass term
  F opacity;
  Mask sound;       // in front of the camera, a rotation, a finite covariance
};

inline void project_block(const Inputs& in, const View& c, int view, int begin, int count, Projected& o) {
  F m[3], s[3], logit[1];
  gather(in.means + view * in.means_stride, begin, count, m);
  gather(in.quats + view * in.quats_stride, begin, count, o.q);
  gather(in.log_scales + view * in.log_scales_stride, begin, count, s);
  gather(in.opacities + view * in.opacities_stride, begin, count, logit);
  const float* w = c.w;
  for (int i = 0; i < 3; ++i) o.p[i] = w[4 * i] * m[0] + w[4 * i + 1] * m[1] + w[4 * i + 2] * m[2] + w[4 * i + 3];
  o.iz = 1.0f / o.p[2];
  const F norm = square_root(o.q[0] * o.q[0] + o.q[1] * o.q[1] + o.q[2] * o.q[2] + o.q[3] * o.q[3]);
  o.inverse = 1.0f / norm;
  for (F& q : o.q) q *= o.inverse;
  const F a = o.q[0], x = o.q[1], y = o.q[2], z = o.q[3];
  o.r[0][0] = 1.0f - 2.0f * (y * y + z * z), o.r[0][1] = 2.0f * (x * y - a * z), o.r[0][2] = 2.0f * (x * z + a * y);
  o.r[1][0] = 2.0f * (x * y + a * z), o.r[1][1] = 1.0f - 2.0f * (x * x + z * z), o.r[1][2] = 2.0f * (y * z - a * x);
  o.r[2][0] = 2.0f * (x * z - a * y), o.r[2][1] = 2.0f * (y * z + a * x), o.r[2][2] = 1.0f - 2.0f * (x * x + y * y);
  for (int i = 0; i < 3; ++i) o.scale[i] = exp2_of(minimum(s[i], all(20.0f)) * kLog2E);
  const F tx = o.p[0] * o.iz, ty = o.p[1] * o.iz;
  o.xz = clamp(tx, -c.limit_x, c.limit_x), o.yz = clamp(ty, -c.limit_y, c.limit_y);
  o.clamped_x = above(tx, all(c.limit_x)) | above(all(-c.limit_x), tx);
  o.clamped_y = above(ty, all(c.limit_y)) | above(all(-c.limit_y), ty);
  for (int i = 0; i < 3; ++i) {
    o.v[0][i] = c.fx * o.iz * (w[i] - o.xz * w[8 + i]);
    o.v[1][i] = c.fy * o.iz * (w[4 + i] - o.yz * w[8 + i]);
  }
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 3; ++j) o.t[i][j] = (o.v[i][0] * o.r[0][j] + o.v[i][1] * o.r[1][j] + o.v[i][2] * o.r[2][j]) * o.scale[j];
  o.cxx = o.t[0][0] * o.t[0][0] + o.t[0][1] * o.t[0][1] + o.t[0][2] * o.t[0][2] + kLowPass;
  o.cyy = o.t[1][0] * o.t[1][0] + o.t[1][1] * o.t[1][1] + o.t[1][2] * o.t[1][2] + kLowPass;
  o.cxy = o.t[0][0] * o.t[1][0] + o.t[0][1] * o.t[1][1] + o.t[0][2] * o.t[1][2];
  o.det = o.cxx * o.cyy - o.cxy * o.cxy;
  o.opacity = 1.0f / (1.0f + exp2_of(minimum(logit[0] * -kLog2E, all(126.0f))));
  o.sound = above(o.p[2], all(kNear)) & above(norm, all(1e-12f)) & above(o.det, all(0.0f)) & above(all(1e37f), o.det);
}

void project(const Inputs& in, int view, int begin, int end, Splat* splats, TileBox* boxes, uint32_t* keys, float* radii) {
  const View c = view_of(in, view);
  for (int block = begin; block < end; block += kLanes) {
    const int count = std::min(kLanes, end - block);
    Projected o;
    project_block(in, c, view, block, count, o);
    const F x = c.fx * o.p[0] * o.iz + c.cx, y = c.fy * o.p[1] * o.iz + c.cy, inverse = 1.0f / o.det;
    const F ka = o.cyy * inverse, kb = -o.cxy * inverse, kc = o.cxx * inverse, log2_opacity = log2_of(maximum(o.opacity, all(1e-30f)));
    const F twice_limit = (log2_opacity + 7.99435344f) * 1.38629436f;  // 2 log(255 opacity)
    const F rx = square_root(maximum(twice_limit * o.cxx, all(0.0f))), ry = square_root(maximum(twice_limit * o.cyy, all(0.0f)));
    const float width = static_cast<float>(in.width), height = static_cast<float>(in.height);
    F x0 = clamp(x - rx + 0.45f, 0.0f, width), x1 = clamp(x + rx + 0.55f, 0.0f, width);
    F y0 = clamp(y - ry + 0.45f, 0.0f, height), y1 = clamp(y + ry + 0.55f, 0.0f, height);
    const Mask seen = o.sound & above(o.opacity, all(kAlphaMin));
    alignas(64) int32_t box[4][kLanes];
    store_truncated(box[0], choose(seen, x0, all(0.0f)));
    store_truncated(box[1], choose(seen, x1, all(0.0f)));
    store_truncated(box[2], choose(seen, y0, all(0.0f)));
    store_truncated(box[3], choose(seen, y1, all(0.0f)));
    const F outline[6] = {x, y, -0.5f * kLog2E * ka, -kLog2E * kb, -0.5f * kLog2E * kc, log2_opacity};
    const F inside[5] = {o.p[2], twice_limit * ka, inverse, kb / ka, 1.0f / ka};
    alignas(64) float turned[11][kLanes];
    for (int f = 0; f < 6; ++f) store(turned[f], outline[f]);
    for (int f = 0; f < 5; ++f) store(turned[6 + f], inside[f]);
    for (int lane = 0; lane < count; ++lane) {
      const int i = block + lane;
      Splat& s = splats[i];
      for (int f = 0; f < 6; ++f) (&s.x)[f] = turned[f][lane];
      for (int f = 0; f < 5; ++f) (&s.depth)[f] = turned[6 + f][lane];
      const bool empty = box[0][lane] >= box[1][lane] || box[2][lane] >= box[3][lane];
      const int left = empty ? 0 : box[0][lane], right = empty ? 0 : box[1][lane];
      const int top = empty ? 0 : box[2][lane], bottom = empty ? 0 : box[3][lane];
      s.x0 = static_cast<uint16_t>(left), s.x1 = static_cast<uint16_t>(right), s.y0 = static_cast<uint16_t>(top), s.y1 = static_cast<uint16_t>(bottom);
      radii[i] = 0.5f * static_cast<float>(std::max(right - left, bottom - top));
      std::memcpy(&keys[i], &s.depth, 4);  // positive floats order like their bits
      boxes[i] = empty ? TileBox{1, 0, 1, 0}
                       : TileBox{static_cast<uint16_t>(left / kTile), static_cast<uint16_t>((right - 1) / kTile),
                                 static_cast<uint16_t>(top / kTile), static_cast<uint16_t>((bottom - 1) / kTile)};
    }
  }
}

void unproject(const Inputs& in, int view, int group, int begin, int end, const Record* records, const int32_t* first_record,
               const Outputs& out) {
  const View c = view_of(in, view);
  const float* w = c.w;
  for (int block = begin; block < end; block += kLanes) {
    const int count = std::min(kLanes, end - block);
    if (first_record[block] == first_record[block + count]) continue;
    alignas(64) float sums[kLanes][16] = {}, turned[10][kLanes];
    for (int lane = 0; lane < count; ++lane)
      for (int e = first_record[block + lane]; e < first_record[block + lane + 1]; ++e)
        for (int j = 0; j < 16; ++j) sums[lane][j] += records[e].sums[j];
    for (int lane = 0; lane < kLanes; ++lane)
      for (int j = 0; j < 10; ++j) turned[j][lane] = sums[lane][j];
    Projected o;
    project_block(in, c, view, block, count, o);
    const Mask sound = o.sound;
    auto kept = [&](F v) { return choose(sound, v, all(0.0f)); };
    const F u = load(turned[0]), ux = load(turned[1]), uy = load(turned[2]);
    const F inverse = 1.0f / o.det, ka = o.cyy * inverse, kb = -o.cxy * inverse, kc = o.cxx * inverse;
    const F gx = ka * ux + kb * uy, gy = kb * ux + kc * uy;
    // conic -> covariance: dL/dC = -K H K with H = dL/dK = -1/2 [[uxx, uxy], [uxy, uyy]]
    const F ha = -0.5f * load(turned[3]), hb = -0.5f * load(turned[4]), hc = -0.5f * load(turned[5]);
    const F m00 = ka * ha + kb * hb, m01 = ka * hb + kb * hc, m10 = kb * ha + kc * hb, m11 = kb * hb + kc * hc;
    const F gxx = -(m00 * ka + m01 * kb), gxy = -(m00 * kb + m01 * kc), gyy = -(m10 * kb + m11 * kc);
    // covariance = T T^t, T = V R S
    F dt[2][3], dm[3][3], dv[2][3], scales[3], d[3][3];
    for (int j = 0; j < 3; ++j) {
      dt[0][j] = 2.0f * (gxx * o.t[0][j] + gxy * o.t[1][j]);
      dt[1][j] = 2.0f * (gxy * o.t[0][j] + gyy * o.t[1][j]);
    }
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) dm[i][j] = o.v[0][i] * dt[0][j] + o.v[1][i] * dt[1][j];
    for (int i = 0; i < 2; ++i)
      for (int j = 0; j < 3; ++j)
        dv[i][j] = dt[i][0] * o.r[j][0] * o.scale[0] + dt[i][1] * o.r[j][1] * o.scale[1] + dt[i][2] * o.r[j][2] * o.scale[2];
    for (int j = 0; j < 3; ++j) scales[j] = kept((dm[0][j] * o.r[0][j] + dm[1][j] * o.r[1][j] + dm[2][j] * o.r[2][j]) * o.scale[j]);
    for (int i = 0; i < 3; ++i)
      for (int j = 0; j < 3; ++j) d[i][j] = dm[i][j] * o.scale[j];
    const F a = o.q[0], x = o.q[1], y = o.q[2], z = o.q[3];
    F dq[4] = {2.0f * (-z * d[0][1] + y * d[0][2] + z * d[1][0] - x * d[1][2] - y * d[2][0] + x * d[2][1]),
               2.0f * (y * d[0][1] + z * d[0][2] + y * d[1][0] - 2.0f * x * d[1][1] - a * d[1][2] + z * d[2][0] + a * d[2][1] - 2.0f * x * d[2][2]),
               2.0f * (-2.0f * y * d[0][0] + x * d[0][1] + a * d[0][2] + x * d[1][0] + z * d[1][2] - a * d[2][0] + z * d[2][1] - 2.0f * y * d[2][2]),
               2.0f * (-2.0f * z * d[0][0] - a * d[0][1] + x * d[0][2] + a * d[1][0] - 2.0f * z * d[1][1] + y * d[1][2] + x * d[2][0] + y * d[2][1])};
    const F along = dq[0] * a + dq[1] * x + dq[2] * y + dq[3] * z;
    for (int j = 0; j < 4; ++j) dq[j] = kept((dq[j] - along * o.q[j]) * o.inverse);
    // V rows: fx / z (W0 - xz W2), fy / z (W1 - yz W2); and the mean itself
    F dot = F{}, dxz = F{}, dyz = F{};
    for (int j = 0; j < 3; ++j) {
      dot += dv[0][j] * o.v[0][j] + dv[1][j] * o.v[1][j];
      dxz -= dv[0][j] * (c.fx * o.iz * w[8 + j]), dyz -= dv[1][j] * (c.fy * o.iz * w[8 + j]);
    }
    dxz = choose(o.clamped_x, all(0.0f), dxz), dyz = choose(o.clamped_y, all(0.0f), dyz);
    const F dx = (gx * c.fx + dxz) * o.iz, dy = (gy * c.fy + dyz) * o.iz;
    const F dz = load(turned[9]) - dot * o.iz - (dx * o.p[0] + dy * o.p[1]) * o.iz;
    F means[3];
    for (int j = 0; j < 3; ++j) means[j] = kept(w[j] * dx + w[4 + j] * dy + w[8 + j] * dz);
    const F colors[3] = {load(turned[6]), load(turned[7]), load(turned[8])}, opacities[1] = {kept(u * (1.0f - o.opacity))}, screen[2] = {kept(gx), kept(gy)};
    const long at = static_cast<long>(view) * in.count + block;
    const long channels = 3L * in.groups;
    scatter<true>(means, out.means + 3 * at, 3, count);
    scatter<true>(dq, out.quats + 4 * at, 4, count);
    scatter<true>(scales, out.log_scales + 3 * at, 3, count);
    scatter<true>(opacities, out.opacities + at, 1, count);
    scatter<true>(colors, out.colors + channels * at + 3 * group, channels, count);
    scatter<true>(screen, out.means2d + 2 * at, 2, count);
  }
}
