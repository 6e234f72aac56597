#include "models/rope.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace irt {

RopePositions rope_positions(std::span<const std::int64_t> ids, std::int64_t image_token_id,
                             std::span<const ImageGrid> grids) {
  const std::size_t n = ids.size();
  RopePositions result;
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
        std::any_of(block.begin(), block.end(), [&](auto id) { return id != image_token_id; })) {
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

}  // namespace irt
