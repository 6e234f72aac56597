#include "models/pixels.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <numbers>
#include <string>

#include "core/error.h"
#include "core/key.h"

namespace irt {
namespace {

constexpr std::size_t kHashLanes = 4;
constexpr std::uint64_t kPrime = 0x9fb21c651e98df25ULL;

std::uint64_t load_word(const std::uint8_t* data, std::size_t count) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, data, count);
  if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
  return word;
}

// Bijective in `word`, so that two images which differ in one word never collide in its lane.
std::uint64_t absorb(std::uint64_t lane, std::uint64_t word) noexcept {
  lane = (lane ^ word) * kPrime;
  return lane ^ (lane >> 32);
}

std::array<float, 256> planar_table() noexcept {
  std::array<float, 256> table{};
  for (std::size_t v = 0; v < table.size(); ++v) {
    const float unit = static_cast<float>(v) / 255.0F;
    const float doubled = 2.0F * unit;
    table[v] = doubled - 1.0F;
  }
  return table;
}

}  // namespace

std::uint64_t hash_pixels(const ImageView& image) noexcept {
  const std::uint64_t seed = mix64((static_cast<std::uint64_t>(image.width) << 32) |
                                   static_cast<std::uint64_t>(image.height));
  std::array<std::uint64_t, kHashLanes> lanes{};
  for (std::size_t i = 0; i < kHashLanes; ++i) lanes[i] = mix64(seed + i);

  const std::size_t words = image.bytes() / 8;
  std::size_t word = 0;
  for (; word + kHashLanes <= words; word += kHashLanes) {
    for (std::size_t i = 0; i < kHashLanes; ++i) {
      lanes[i] = absorb(lanes[i], load_word(image.data + (word + i) * 8, 8));
    }
  }
  for (std::size_t at = word * 8; at < image.bytes(); at += 8) {
    std::uint64_t& lane = lanes[at / 8 % kHashLanes];
    lane = absorb(lane, load_word(image.data + at, std::min<std::size_t>(8, image.bytes() - at)));
  }
  std::uint64_t hash = seed;
  for (const std::uint64_t lane : lanes) hash = mix64(hash ^ lane);
  return hash;
}

PixelBuffer white_image(int width, int height) {
  PixelBuffer buffer{width, height, {}};
  buffer.data.assign(buffer.view().bytes(), 255);
  return buffer;
}

PixelBuffer crop_center(const ImageView& image, int width, int height) {
  if (width <= 0 || height <= 0 || width > image.width || height > image.height) {
    throw Error(ErrorCode::kBadRequest,
                "[crop_center] " + std::to_string(width) + "x" + std::to_string(height) +
                    " does not fit into an image of " + std::to_string(image.width) + "x" +
                    std::to_string(image.height) + ": pass a larger image");
  }
  const auto left = static_cast<std::size_t>((image.width - width) / 2);
  const auto top = static_cast<std::size_t>((image.height - height) / 2);
  const std::size_t stride = static_cast<std::size_t>(image.width) * 3;
  const std::size_t row = static_cast<std::size_t>(width) * 3;
  PixelBuffer out{width, height, {}};
  out.data.resize(row * static_cast<std::size_t>(height));
  for (std::size_t y = 0; y < static_cast<std::size_t>(height); ++y) {
    std::memcpy(out.data.data() + y * row, image.data + (top + y) * stride + left * 3, row);
  }
  return out;
}

void to_planar(const ImageView& image, std::span<float> out) noexcept {
  static const std::array<float, 256> table = planar_table();
  const std::size_t plane =
      static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
  for (std::size_t i = 0; i < plane; ++i) {
    for (std::size_t c = 0; c < 3; ++c) out[c * plane + i] = table[image.data[i * 3 + c]];
  }
}

void from_planar(std::span<const float> planar, int width, int height, std::uint8_t* out) noexcept {
  const std::size_t plane = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
  for (std::size_t i = 0; i < plane; ++i) {
    for (std::size_t c = 0; c < 3; ++c) {
      const float half = planar[c * plane + i] * 0.5F;
      float unit = half + 0.5F;
      if (!(unit > 0.0F)) unit = 0.0F;  // NaN as well
      unit = std::min(unit, 1.0F);
      // The default rounding mode is half to even.
      out[i * 3 + c] = static_cast<std::uint8_t>(std::nearbyint(unit * 255.0F));
    }
  }
}

// ---- resizing ------------------------------------------------------------------------------
// Pillow's resampling of 8-bit images: separable, antialiased, 22 fractional bits, each pass
// rounded to 8 bits. A pass that does not change the size is skipped, as Pillow does.

namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;
constexpr std::size_t kChannels = 3;

double bicubic(double x) noexcept {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double sinc(double x) noexcept {
  if (x == 0.0) return 1.0;
  x *= std::numbers::pi;
  return std::sin(x) / x;
}

double lanczos(double x) noexcept { return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

// The weights of every output position over a window of input positions.
struct Weights {
  std::size_t window = 0;            // capacity of one row of `values`
  std::vector<std::size_t> first;    // first input position
  std::vector<std::size_t> count;    // input positions used
  std::vector<std::int32_t> values;  // [output, window], fixed point
};

Weights weights_for(int in_size, int out_size, Filter filter) {
  const double scale = static_cast<double>(in_size) / out_size;
  const double stretch = std::max(scale, 1.0);
  const double support = (filter == Filter::kBicubic ? 2.0 : 3.0) * stretch;
  const auto outputs = static_cast<std::size_t>(out_size);
  Weights weights;
  weights.window = static_cast<std::size_t>(std::ceil(support)) * 2 + 1;
  weights.first.resize(outputs);
  weights.count.resize(outputs);
  weights.values.assign(outputs * weights.window, 0);
  std::vector<double> row(weights.window);
  for (std::size_t out = 0; out < outputs; ++out) {
    const double center = (static_cast<double>(out) + 0.5) * scale;
    const double inverse = 1.0 / stretch;
    const int begin = std::max(static_cast<int>(center - support + 0.5), 0);
    const int end = std::min(static_cast<int>(center + support + 0.5), in_size);
    const auto count = static_cast<std::size_t>(end - begin);
    double sum = 0.0;
    for (std::size_t i = 0; i < count; ++i) {
      const double x = (static_cast<double>(i) + begin - center + 0.5) * inverse;
      row[i] = filter == Filter::kBicubic ? bicubic(x) : lanczos(x);
      sum += row[i];
    }
    weights.first[out] = static_cast<std::size_t>(begin);
    weights.count[out] = count;
    for (std::size_t i = 0; i < count; ++i) {
      const double weight = sum != 0.0 ? row[i] / sum : row[i];
      const double fixed = weight * (1 << kPrecisionBits);
      weights.values[out * weights.window + i] =
          static_cast<std::int32_t>(weight < 0 ? fixed - 0.5 : fixed + 0.5);
    }
  }
  return weights;
}

std::uint8_t clip(std::int32_t sum) noexcept {
  return static_cast<std::uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

std::vector<std::uint8_t> horizontal(const std::uint8_t* in, std::size_t in_width,
                                     std::size_t height, const Weights& weights) {
  const std::size_t out_width = weights.first.size();
  std::vector<std::uint8_t> out(out_width * height * kChannels);
  for (std::size_t y = 0; y < height; ++y) {
    const std::uint8_t* row = in + y * in_width * kChannels;
    std::uint8_t* target = out.data() + y * out_width * kChannels;
    for (std::size_t x = 0; x < out_width; ++x) {
      std::int32_t sum[kChannels] = {1 << (kPrecisionBits - 1), 1 << (kPrecisionBits - 1),
                                     1 << (kPrecisionBits - 1)};
      const std::int32_t* values = weights.values.data() + x * weights.window;
      const std::uint8_t* pixel = row + weights.first[x] * kChannels;
      for (std::size_t i = 0; i < weights.count[x]; ++i) {
        for (std::size_t c = 0; c < kChannels; ++c) sum[c] += pixel[i * kChannels + c] * values[i];
      }
      for (std::size_t c = 0; c < kChannels; ++c) target[x * kChannels + c] = clip(sum[c]);
    }
  }
  return out;
}

std::vector<std::uint8_t> vertical(const std::uint8_t* in, std::size_t width,
                                   const Weights& weights) {
  const std::size_t stride = width * kChannels;
  const std::size_t out_height = weights.first.size();
  std::vector<std::uint8_t> out(stride * out_height);
  std::vector<std::int32_t> sums(stride);
  for (std::size_t y = 0; y < out_height; ++y) {
    std::fill(sums.begin(), sums.end(), 1 << (kPrecisionBits - 1));
    for (std::size_t i = 0; i < weights.count[y]; ++i) {
      const std::int32_t weight = weights.values[y * weights.window + i];
      const std::uint8_t* row = in + (weights.first[y] + i) * stride;
      for (std::size_t x = 0; x < stride; ++x) sums[x] += row[x] * weight;
    }
    for (std::size_t x = 0; x < stride; ++x) out[y * stride + x] = clip(sums[x]);
  }
  return out;
}

// Since release 13, Pillow begins with the pass that removes clearly more; before, always with the
// horizontal one. Rounding in between makes the order visible.
bool vertical_first(const ImageView& image, int width, int height) noexcept {
  return height < image.height && image.height - height > 2 * (image.width - width);
}

}  // namespace

PixelBuffer resize(const ImageView& image, int width, int height, Filter filter) {
  if (width <= 0 || height <= 0 || image.width <= 0 || image.height <= 0) {
    throw Error(ErrorCode::kBadRequest, "[resize] cannot resize " + std::to_string(image.width) +
                                            "x" + std::to_string(image.height) + " to " +
                                            std::to_string(width) + "x" + std::to_string(height) +
                                            ": both sides must be positive");
  }
  PixelBuffer out{width, height, {}};
  const auto across = [&](const std::uint8_t* in, int rows) {
    return horizontal(in, static_cast<std::size_t>(image.width), static_cast<std::size_t>(rows),
                      weights_for(image.width, width, filter));
  };
  const auto down = [&](const std::uint8_t* in, int columns) {
    return vertical(in, static_cast<std::size_t>(columns),
                    weights_for(image.height, height, filter));
  };
  if (width == image.width && height == image.height) {
    out.data.assign(image.data, image.data + image.bytes());
  } else if (height == image.height) {
    out.data = across(image.data, height);
  } else if (width == image.width) {
    out.data = down(image.data, width);
  } else if (vertical_first(image, width, height)) {
    const std::vector<std::uint8_t> low = down(image.data, image.width);
    out.data = across(low.data(), height);
  } else {
    const std::vector<std::uint8_t> narrow = across(image.data, image.height);
    out.data = down(narrow.data(), width);
  }
  return out;
}

}  // namespace irt
