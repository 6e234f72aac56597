#include "models/pixels.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "core/error.h"
#include "core/key.h"

namespace irt {
namespace {

constexpr std::size_t kLanes = 4;
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
  std::array<std::uint64_t, kLanes> lanes{};
  for (std::size_t i = 0; i < kLanes; ++i) lanes[i] = mix64(seed + i);

  const std::size_t words = image.bytes() / 8;
  std::size_t word = 0;
  for (; word + kLanes <= words; word += kLanes) {
    for (std::size_t i = 0; i < kLanes; ++i) {
      lanes[i] = absorb(lanes[i], load_word(image.data + (word + i) * 8, 8));
    }
  }
  for (; word < words; ++word) {
    lanes[word % kLanes] = absorb(lanes[word % kLanes], load_word(image.data + word * 8, 8));
  }
  const std::size_t rest = image.bytes() % 8;
  if (rest > 0) {
    lanes[word % kLanes] = absorb(lanes[word % kLanes], load_word(image.data + word * 8, rest));
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

PixelBuffer resize_bicubic(const ImageView& image, int width, int height) {
  return resize(image, width, height, Filter::kBicubic);
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

}  // namespace irt
