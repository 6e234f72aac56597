// Raw 8-bit RGB images and the conversions that models need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace irt {

// Height x width x 3, interleaved, rows contiguous. The memory belongs to somebody else.
struct ImageView {
  const std::uint8_t* data = nullptr;
  int width = 0;
  int height = 0;
  [[nodiscard]] std::size_t bytes() const noexcept {
    return static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 3U;
  }
};

struct PixelBuffer {
  int width = 0;
  int height = 0;
  std::vector<std::uint8_t> data;
  [[nodiscard]] ImageView view() const noexcept { return {data.data(), width, height}; }
};

// Content hash (64 bits) of size and pixels: what canonical results compare. The same on every
// machine; not cryptographic.
[[nodiscard]] std::uint64_t hash_pixels(const ImageView& image) noexcept;
[[nodiscard]] PixelBuffer white_image(int width, int height);

enum class Filter { kBicubic, kLanczos };
// Antialiased, as Image.resize of Pillow 13 on 8-bit RGB (bit-equal to it: two passes in fixed
// point). Throws Error(kBadRequest) for a side that is not positive.
[[nodiscard]] PixelBuffer resize(const ImageView& image, int width, int height,
                                 Filter filter = Filter::kBicubic);
// The rectangle in the middle (left and top rounded down). Throws Error(kBadRequest) when it does
// not fit.
[[nodiscard]] PixelBuffer crop_center(const ImageView& image, int width, int height);

// Planar floats in -1..1: out[c][y][x] = x / 255 * 2 - 1, each operation rounded to float.
// `out` holds 3 * height * width floats.
void to_planar(const ImageView& image, std::span<float> out) noexcept;
// The inverse: x * 0.5 + 0.5 clamped to 0..1, times 255, rounded half to even; NaN gives 0.
void from_planar(std::span<const float> planar, int width, int height, std::uint8_t* out) noexcept;

}  // namespace irt
