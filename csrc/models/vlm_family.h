// What differs between families of vision-language models: how an image becomes the vision graph's
// input, and where its tokens stand. A family is one C++ file that fills in `VlmFamily`, and one
// row of the table in vlm_family.cpp.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/pixels.h"

namespace irt {

struct VisionConfig {
  std::string family = "qwen3_vl";
  int patch_size = 16;
  int merge_size = 2;
  int temporal_patch_size = 2;
  std::array<float, 3> mean{0.5F, 0.5F, 0.5F};
  std::array<float, 3> std{0.5F, 0.5F, 0.5F};
  std::int64_t min_pixels = 3136;
  std::int64_t max_pixels = 1048576;
  int hidden = 0;            // width of the language model
  int deepstack_levels = 0;  // levels beside the main embedding
};

struct Size {
  int width = 0;
  int height = 0;
};

// An image as the language model sees it: rows x columns tokens (patches after merging).
struct ImageGrid {
  int rows = 0;
  int columns = 0;
};

struct Positions {
  std::vector<std::int64_t> ids;  // [3, n]: time, height, width
  std::int64_t next = 0;          // of the first answer token; later ones count on from it
};

struct VlmFamily {
  std::string name;
  // The size that an image is resized to: both sides multiples of patch * merge, the area at most
  // `max_pixels`. Throws Error(kBadRequest) for a size that the family cannot read.
  Size (*target_size)(Size size, const VisionConfig& config, std::int64_t max_pixels);
  // `pixel_values` of an image of such a size: 3 * temporal * width * height floats.
  void (*patchify)(const ImageView& image, const VisionConfig& config, std::span<float> out);
  // Position ids of an expanded prompt, where each image takes rows * columns image tokens.
  // Throws Error(kBadRequest) when image tokens and grids do not match.
  Positions (*positions)(std::span<const std::int64_t> ids, std::int64_t image_token_id,
                         std::span<const ImageGrid> grids);
};

// Throws Error(kBadPack) for a family that is not known. Thread-safe.
[[nodiscard]] const VlmFamily& vlm_family(const std::string& name);

}  // namespace irt
