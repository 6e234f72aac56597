// Pictures and hashes that make_image_golden.py makes as well.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "core/key.h"
#include "models/pixels.h"

namespace irt::testing {

inline PixelBuffer picture(std::uint64_t seed, int width, int height) {
  PixelBuffer image{width, height, {}};
  image.data.resize(image.view().bytes());
  for (std::size_t i = 0; i < image.data.size(); ++i) {
    image.data[i] = static_cast<std::uint8_t>(mix64(seed + i / 8) >> (8 * (i % 8)));
  }
  return image;
}

// The bytes of `values`, 3 * width * height of them, hashed like an image (little-endian only).
inline std::uint64_t hash_floats(std::span<const float> values, int width, int height) {
  return hash_pixels({reinterpret_cast<const std::uint8_t*>(values.data()), width, height});
}

}  // namespace irt::testing
