// A vision-language model as lanes and the reference loop use it: prompts in, tokens out.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/images.h"
#include "engine/lru.h"
#include "engine/native_config.h"

namespace irt {

using FeaturesRef = std::shared_ptr<const VisionFeatures>;

// Decoder, vision encoder and a bounded cache of vision features. Not thread-safe.
class Vlm {
 public:
  explicit Vlm(const VlmConfig& config);

  [[nodiscard]] const VlmConfig& config() const noexcept { return config_; }
  [[nodiscard]] BatchedDecoder& decoder() noexcept { return decoder_; }

  // Features of `image`; a null image is a white picture of the given size. `cached`: look into the
  // cache and keep the result there (S6).
  [[nodiscard]] FeaturesRef features(const ImageRef& image, Size white, bool cached,
                                     std::int64_t max_pixels = 0);
  [[nodiscard]] FeaturesRef features(const ImageView& image, std::int64_t max_pixels = 0);
  // The limit for each of `count` images of one prompt; 0 = the configuration's own.
  [[nodiscard]] std::int64_t pixel_limit(std::size_t count) const noexcept {
    return count >= static_cast<std::size_t>(config_.many) ? config_.max_pixels_many : 0;
  }
  [[nodiscard]] SamplingParams sampling(std::uint64_t seed, int retry) const noexcept;
  // Of the answer to a prompt with `images` images; null: not constrained.
  [[nodiscard]] const std::shared_ptr<const Grammar>& grammar(std::size_t images) const noexcept {
    return images > 0 && config_.image_grammar ? config_.image_grammar : config_.grammar;
  }
  [[nodiscard]] double p_success(std::span<const float> logits) const noexcept {
    return irt::p_success(logits, config_.true_tokens, config_.false_tokens);
  }

 private:
  VlmConfig config_;
  BatchedDecoder decoder_;
  std::unique_ptr<VisionEncoder> vision_;
  Lru<Key, FeaturesRef> cache_;
};

}  // namespace irt
