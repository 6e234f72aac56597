#include "engine/vlm.h"

#include <cmath>

#include "core/error.h"

namespace irt {

Vlm::Vlm(const VlmConfig& config)
    : config_(config),
      decoder_(config.decoder, config.decoder_config, config.session),
      cache_(config.vision_cache) {
  if (!config_.tokens) throw Error(ErrorCode::kBadPack, "[Vlm] the role has no token table");
  if (!config_.vision.empty()) {
    vision_ =
        std::make_unique<VisionEncoder>(config_.vision, config_.vision_config, config_.session);
  }
}

FeaturesRef Vlm::features(const ImageView& image, std::int64_t max_pixels) {
  if (!vision_) {
    throw Error(ErrorCode::kBadRequest,
                "[Vlm] the request holds images, but this pack's model has no vision encoder: use "
                "a pack whose role names one");
  }
  return std::make_shared<const VisionFeatures>(vision_->encode(image, max_pixels));
}

FeaturesRef Vlm::features(const ImageRef& image, Size white, bool cached, std::int64_t max_pixels) {
  const auto limit = static_cast<std::uint64_t>(max_pixels);
  KeyBuilder builder("irt.vision.1");
  if (image) {
    builder.add(image->key).add(limit);
  } else {
    builder.add(static_cast<std::uint64_t>(white.width))
        .add(static_cast<std::uint64_t>(white.height))
        .add(limit);
  }
  const Key key = builder.finish();
  if (cached) {
    if (const FeaturesRef* hit = cache_.get(key)) return *hit;
  }
  FeaturesRef made;
  if (image) {
    made = features(image->pixels.view(), max_pixels);
  } else {
    const PixelBuffer blank = white_image(white.width, white.height);
    made = features(blank.view(), max_pixels);
  }
  if (cached) cache_.put(key, made);
  return made;
}

SamplingParams Vlm::sampling(std::uint64_t seed, int retry) const noexcept {
  SamplingParams params = config_.sampling;
  if (retry > 0) {
    params = {};
    params.temperature = kRetryTemperature;
  }
  params.seed = seed;
  const double threshold = config_.verdict_threshold;
  if (threshold != 0.5 && !config_.true_tokens.empty() && !config_.false_tokens.empty()) {
    const auto odds = static_cast<float>(std::log(threshold / (1.0 - threshold)));
    params.favoured = odds > 0.0F ? config_.false_tokens : config_.true_tokens;
    params.bonus = std::abs(odds);
  }
  return params;
}

}  // namespace irt
