#include "models/qwen3_vl.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"

namespace irt {
namespace {

std::string to_text(Size size) {
  return std::to_string(size.width) + "x" + std::to_string(size.height);
}

// One value per channel and byte: rescaled in double, normalised in float, as the processor does.
using Table = std::array<std::array<float, 256>, 3>;

Table normalisation(const VisionConfig& config) noexcept {
  Table table{};
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t v = 0; v < 256; ++v) {
      const auto unit = static_cast<float>(static_cast<double>(v) * (1.0 / 255.0));
      const float centred = unit - config.mean[c];
      table[c][v] = centred / config.std[c];
    }
  }
  return table;
}

}  // namespace

Size smart_resize(Size size, int factor, std::int64_t min_pixels, std::int64_t max_pixels) {
  if (size.width <= 0 || size.height <= 0 ||
      std::max(size.width, size.height) > 200.0 * std::min(size.width, size.height)) {
    throw Error(ErrorCode::kBadRequest,
                "[VisionEncoder] an image of " + to_text(size) +
                    " cannot be read: sides must be positive, the aspect ratio at most 200");
  }
  const double height = size.height;
  const double width = size.width;
  const auto snapped = [factor](double side, double (*round)(double)) {
    return static_cast<std::int64_t>(round(side / factor)) * factor;
  };
  // nearbyint rounds half to even, as Python's round does.
  std::int64_t out_height = snapped(height, std::nearbyint);
  std::int64_t out_width = snapped(width, std::nearbyint);
  if (out_height * out_width > max_pixels) {
    const double beta = std::sqrt(height * width / static_cast<double>(max_pixels));
    out_height = std::max<std::int64_t>(factor, snapped(height / beta, std::floor));
    out_width = std::max<std::int64_t>(factor, snapped(width / beta, std::floor));
  } else if (out_height * out_width < min_pixels) {
    const double beta = std::sqrt(static_cast<double>(min_pixels) / (height * width));
    out_height = snapped(height * beta, std::ceil);
    out_width = snapped(width * beta, std::ceil);
  }
  return {static_cast<int>(out_width), static_cast<int>(out_height)};
}

void patchify(const ImageView& image, const VisionConfig& config, std::span<float> out) {
  const Table table = normalisation(config);
  const int patch = config.patch_size;
  const int merge = config.merge_size;
  const int block = patch * merge;
  const auto plane = static_cast<std::size_t>(patch) * static_cast<std::size_t>(patch);
  float* target = out.data();
  for (int by = 0; by < image.height; by += block) {
    for (int bx = 0; bx < image.width; bx += block) {
      for (int inner = 0; inner < merge * merge; ++inner) {
        const int top = by + inner / merge * patch;
        const int left = bx + inner % merge * patch;
        for (std::size_t c = 0; c < 3; ++c) {
          const float* first = target;
          for (int y = top; y < top + patch; ++y) {
            const std::uint8_t* pixel =
                image.data +
                (static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width) +
                 static_cast<std::size_t>(left)) *
                    3 +
                c;
            for (int x = 0; x < patch; ++x, pixel += 3) *target++ = table[c][*pixel];
          }
          for (int t = 1; t < config.temporal_patch_size; ++t) {
            target = std::copy_n(first, plane, target);
          }
        }
      }
    }
  }
}

Positions rope_positions(std::span<const std::int64_t> ids, std::int64_t image_token_id,
                         std::span<const ImageGrid> grids) {
  const std::size_t n = ids.size();
  Positions result;
  result.ids.resize(3 * n);
  std::int64_t* time = result.ids.data();
  std::int64_t* height = time + n;
  std::int64_t* width = height + n;

  std::size_t image = 0;
  for (std::size_t i = 0; i < n;) {
    if (ids[i] != image_token_id) {
      time[i] = height[i] = width[i] = result.next++;
      ++i;
      continue;
    }
    const ImageGrid grid = image < grids.size() ? grids[image] : ImageGrid{};
    const std::size_t tokens =
        static_cast<std::size_t>(grid.rows) * static_cast<std::size_t>(grid.columns);
    const auto block = ids.subspan(i, std::min(tokens, n - i));
    if (tokens == 0 || block.size() < tokens ||
        std::ranges::any_of(block, [&](auto id) { return id != image_token_id; })) {
      throw Error(ErrorCode::kBadRequest,
                  "[rope_positions] image token at " + std::to_string(i) + " does not fit image " +
                      std::to_string(image) + " of " + std::to_string(grids.size()) +
                      ": give rows * columns image tokens for each image, in order");
    }
    for (int row = 0; row < grid.rows; ++row) {
      for (int column = 0; column < grid.columns; ++column, ++i) {
        time[i] = result.next;
        height[i] = result.next + row;
        width[i] = result.next + column;
      }
    }
    result.next += std::max(grid.rows, grid.columns);
    ++image;
  }
  if (image != grids.size()) {
    throw Error(ErrorCode::kBadRequest, "[rope_positions] " + std::to_string(grids.size()) +
                                            " images, but image tokens for " +
                                            std::to_string(image));
  }
  return result;
}

VlmFamily qwen3_vl() {
  const auto target_size = [](Size size, const VisionConfig& config, std::int64_t max_pixels) {
    return smart_resize(size, config.patch_size * config.merge_size,
                        std::min(config.min_pixels, max_pixels), max_pixels);
  };
  return {"qwen3_vl", target_size, patchify, rope_positions};
}

}  // namespace irt
