// Raw 8-bit RGB images and the conversions that models need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace irt::rt {

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

// Content hash (64 bits) of size and pixels: what canonical results compare.
[[nodiscard]] std::uint64_t hash_pixels(const ImageView& image) noexcept;
[[nodiscard]] PixelBuffer white_image(int width, int height);
// Bicubic with antialiasing, as Pillow's BICUBIC resize on 8-bit images (bit-equal to it).
[[nodiscard]] PixelBuffer resize_bicubic(const ImageView& image, int width, int height);
// Planar floats in -1..1: out[c][y][x] = x / 127.5 - 1. `out` holds 3 * height * width floats.
void to_planar(const ImageView& image, std::span<float> out) noexcept;
// The inverse with clamping and rounding half to even, as numpy's round does.
void from_planar(std::span<const float> planar, int width, int height, std::uint8_t* out) noexcept;

}  // namespace irt::rt
