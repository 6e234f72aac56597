// Position ids of Qwen3-VL's multimodal rotary embedding (time, height, width).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace irt {

// An image as the language model sees it: rows x columns tokens (patches after merging).
struct ImageGrid {
  int rows = 0;
  int columns = 0;
};

struct RopePositions {
  std::vector<std::int64_t> ids;  // [3, n]: time, height, width
  std::int64_t next = 0;          // of the first answer token; later ones count on from it
};

// `ids`: the expanded prompt, where each image takes rows * columns image tokens. Text counts on;
// an image's tokens share the time of its start and count rows and columns from there; what
// follows starts behind the image's longer side.
// Throws Error(kBadRequest) when image tokens and grids do not match.
[[nodiscard]] RopePositions rope_positions(std::span<const std::int64_t> ids,
                                           std::int64_t image_token_id,
                                           std::span<const ImageGrid> grids);

}  // namespace irt
