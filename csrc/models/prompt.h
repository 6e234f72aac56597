// A prompt as the decoder reads it: image tokens expanded, positions computed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "models/decoder.h"
#include "models/vlm_family.h"

namespace irt {

// An image's tokens start at index `start` of the expanded prompt.
struct ImageSpan {
  int start = 0;
  std::shared_ptr<const VisionFeatures> features;
};

struct ExpandedPrompt {
  std::vector<std::int64_t> ids;
  std::vector<ImageSpan> images;
  Positions positions;
};

// Throws Error(kBadRequest) for an empty prompt, an id outside the vocabulary, a number of image
// tokens that is not the number of images, or features that do not fit the configuration.
[[nodiscard]] ExpandedPrompt expand_prompt(const Prompt& prompt, const DecoderConfig& config);

// How many leading tokens of `prompt` a row holds whose first `ids.size()` tokens are cached. An
// image is the same when its features are the same object.
[[nodiscard]] int common_prefix(std::span<const std::int64_t> ids,
                                std::span<const ImageSpan> images, const ExpandedPrompt& prompt);

}  // namespace irt
