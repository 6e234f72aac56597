// The vision encoder of a vision-language model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/pixels.h"
#include "models/vlm_family.h"
#include "tensor/session.h"

namespace irt {

// What a language model reads of one image. `tokens` = grid_height * grid_width / merge^2.
struct VisionFeatures {
  int grid_height = 0;  // in patches
  int grid_width = 0;
  int tokens = 0;
  Tensor embeds;     // float32 [tokens, hidden], where the encoder's session works
  Tensor deepstack;  // float32 [levels, tokens, hidden]; empty without levels
};

// Not thread-safe: one object a lane.
class VisionEncoder {
 public:
  // Throws Error(kBadPack) when the graph or the configuration breaks the contract.
  VisionEncoder(const std::string& path, const VisionConfig& config, const SessionOptions& options);
  // `max_pixels` overrides the configuration when positive (five or more images: 384 x 384 each).
  [[nodiscard]] VisionFeatures encode(const ImageView& image, std::int64_t max_pixels = 0);
  // Tokens that `encode` will return, without running anything.
  [[nodiscard]] int count_tokens(Size size, std::int64_t max_pixels = 0) const;
  // From another thread: ends a run in progress, which throws Error(kCancelled).
  void terminate() noexcept { stop_.stop(); }

 private:
  [[nodiscard]] Size target(Size size, std::int64_t max_pixels) const;
  // Throws Error(kBadPack) where the graph does not make one token of a block of patches: its
  // shapes do not say that.
  void check_merging();
  // Of the patches in `pixels_`.
  [[nodiscard]] VisionFeatures run(int grid_height, int grid_width);

  VisionConfig config_;
  const VlmFamily& family_;
  Session session_;
  Run run_;
  StopSwitch stop_;
  std::vector<float> pixels_;
};

}  // namespace irt
