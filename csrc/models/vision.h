// Qwen-VL image preprocessing and the vision encoder of a VLM.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/pixels.h"
#include "tensor/ort.h"

namespace irt {

struct VisionConfig {
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

// What a language model reads of one image. `tokens` = grid_height * grid_width / merge^2.
struct VisionFeatures {
  int grid_height = 0;  // in patches
  int grid_width = 0;
  int tokens = 0;
  std::vector<float> embeds;     // [tokens, hidden]
  std::vector<float> deepstack;  // [levels, tokens, hidden]
};

// The size that Qwen-VL resizes an image to: both sides multiples of patch * merge, the area
// inside [min_pixels, max_pixels], the aspect ratio kept as well as that allows.
// Throws Error(kBadRequest) for an empty image or an aspect ratio over 200.
struct Size {
  int width = 0;
  int height = 0;
};
[[nodiscard]] Size smart_resize(Size size, int factor, std::int64_t min_pixels,
                                std::int64_t max_pixels);

// Normalised patches of an image whose sides are multiples of patch * merge, in Qwen-VL order: rows
// of merge blocks, the patches of a block, then channel, time (copies), row, column. Bit-equal to
// transformers' Qwen2VLImageProcessorPil. `out` holds 3 * temporal * width * height floats.
void patchify(const ImageView& image, const VisionConfig& config, std::span<float> out) noexcept;

// Not thread-safe: one object a lane.
class VisionEncoder {
 public:
  // Throws Error(kBadPack) when the graph or the configuration breaks the contract.
  VisionEncoder(const std::string& path, const VisionConfig& config, const SessionOptions& options);
  ~VisionEncoder();
  // `max_pixels` overrides the configuration when positive (five or more images: 384 x 384 each).
  [[nodiscard]] VisionFeatures encode(const ImageView& image, std::int64_t max_pixels = 0);
  // Tokens that `encode` will return, without running anything.
  [[nodiscard]] int count_tokens(Size size, std::int64_t max_pixels = 0) const;
  // From another thread: ends a run in progress, which throws Error(kCancelled).
  void terminate() noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace irt
