// Qwen3-VL: image preprocessing, and the positions of its multimodal rotary embedding.
#pragma once

#include <cstdint>
#include <span>

#include "models/vlm_family.h"

namespace irt {

[[nodiscard]] VlmFamily qwen3_vl();

// The size that Qwen-VL resizes an image to: both sides multiples of `factor`, the area inside
// [min_pixels, max_pixels], the aspect ratio kept as well as that allows.
// Throws Error(kBadRequest) for an empty image or an aspect ratio over 200.
[[nodiscard]] Size smart_resize(Size size, int factor, std::int64_t min_pixels,
                                std::int64_t max_pixels);

// Normalised patches of an image whose sides are multiples of patch * merge, in Qwen-VL order: rows
// of merge blocks, the patches of a block, then channel, time (copies), row, column. Bit-equal to
// transformers' Qwen2VLImageProcessorPil. `out` holds 3 * temporal * width * height floats.
void patchify(const ImageView& image, const VisionConfig& config, std::span<float> out);

// Text counts on; an image's tokens share the time of its start and count rows and columns from
// there; what follows starts behind the image's longer side.
[[nodiscard]] Positions rope_positions(std::span<const std::int64_t> ids,
                                       std::int64_t image_token_id,
                                       std::span<const ImageGrid> grids);

}  // namespace irt
