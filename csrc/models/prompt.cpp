#include "models/prompt.h"

#include <algorithm>
#include <string>

#include "core/error.h"

namespace irt {
namespace {

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ErrorCode::kBadRequest, "[BatchedDecoder.admit] " + message);
}

[[nodiscard]] ImageGrid grid_of(const VisionFeatures& features, const DecoderConfig& config,
                                std::size_t index) {
  const ImageGrid grid{features.grid_height / config.merge_size,
                       features.grid_width / config.merge_size};
  const std::size_t floats =
      static_cast<std::size_t>(features.tokens) * static_cast<std::size_t>(config.hidden);
  const auto levels = static_cast<std::size_t>(config.deepstack_levels);
  if (features.tokens <= 0 || grid.rows * grid.columns != features.tokens ||
      features.embeds.size() != floats || features.deepstack.size() != levels * floats) {
    refuse("the features of image " + std::to_string(index) +
           " do not fit this decoder: encode it with the vision encoder of the same pack");
  }
  return grid;
}

}  // namespace

ExpandedPrompt expand_prompt(const Prompt& prompt, const DecoderConfig& config) {
  if (prompt.ids.empty()) refuse("the prompt is empty");
  if (prompt.max_new_tokens < 1) refuse("max_new_tokens must be at least 1");
  const auto marks = std::count(prompt.ids.begin(), prompt.ids.end(), config.image_token_id);
  if (static_cast<std::size_t>(marks) != prompt.images.size()) {
    refuse(std::to_string(marks) + " image tokens for " + std::to_string(prompt.images.size()) +
           " images: the prompt needs one image token for each image");
  }
  ExpandedPrompt result;
  std::vector<ImageGrid> grids;
  for (const std::int64_t id : prompt.ids) {
    if (id < 0 || id >= config.vocab) {
      refuse("token id " + std::to_string(id) + " is outside the vocabulary of " +
             std::to_string(config.vocab));
    }
    if (id != config.image_token_id) {
      result.ids.push_back(id);
      continue;
    }
    const auto& features = prompt.images[grids.size()];
    if (features == nullptr) refuse("image " + std::to_string(grids.size()) + " has no features");
    grids.push_back(grid_of(*features, config, grids.size()));
    result.images.push_back({static_cast<int>(result.ids.size()), features});
    result.ids.insert(result.ids.end(), static_cast<std::size_t>(features->tokens), id);
  }
  result.positions = vlm_family(config.family).positions(result.ids, config.image_token_id, grids);
  return result;
}

int common_prefix(std::span<const std::int64_t> ids, std::span<const ImageSpan> images,
                  const ExpandedPrompt& prompt) {
  const std::size_t limit = std::min(ids.size(), prompt.ids.size());
  const auto end = std::mismatch(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(limit),
                                 prompt.ids.begin());
  const int common = static_cast<int>(end.first - ids.begin());
  for (const ImageSpan& image : prompt.images) {
    if (image.start >= common) break;
    const auto same = [&](const ImageSpan& cached) {
      return cached.start == image.start && cached.features == image.features;
    };
    if (std::none_of(images.begin(), images.end(), same)) return image.start;
  }
  return common;
}

}  // namespace irt
