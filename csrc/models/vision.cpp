#include "models/vision.h"

#include <algorithm>

#include "core/error.h"
#include "models/sampler.h"

namespace irt {
namespace {

const VisionConfig& checked(const std::string& path, const VisionConfig& config) {
  const auto positive = [](float value) { return value > 0.0F; };
  if (config.patch_size >= 1 && config.merge_size >= 1 && config.temporal_patch_size >= 1 &&
      config.hidden >= 1 && config.deepstack_levels >= 0 && config.min_pixels >= 1 &&
      config.max_pixels >= config.min_pixels && std::ranges::all_of(config.std, positive)) {
    return config;
  }
  throw Error(ErrorCode::kBadPack,
              "[VisionEncoder] " + path +
                  ": vision_config of pack.json needs positive sizes, positive image_std and "
                  "min_pixels <= max_pixels: export the pack again");
}

}  // namespace

VisionEncoder::VisionEncoder(const std::string& path, const VisionConfig& config,
                             const SessionOptions& options)
    : config_(checked(path, config)),
      family_(vlm_family(config.family)),
      session_(path, options),
      run_(session_) {
  const std::int64_t patch_values =
      3LL * config.temporal_patch_size * config.patch_size * config.patch_size;
  session_.require_input("pixel_values", ElementType::kFloat32, {kAny, patch_values});
  session_.require_input("grid_thw", ElementType::kInt64, {1, 3});
  session_.require_output("embeds", ElementType::kFloat32, {kAny, config.hidden});
  if (config.deepstack_levels > 0) {
    session_.require_output("deepstack", ElementType::kFloat32,
                            {config.deepstack_levels, kAny, config.hidden});
  }
  const bool any_size = session_.input("pixel_values")->shape[0] < 0;
  if (any_size && session_.device()->is_host()) check_merging();
}

void VisionEncoder::check_merging() {
  const int side = config_.merge_size;
  const auto squared = [](int length) { return static_cast<std::size_t>(length * length); };
  pixels_.assign(3 * static_cast<std::size_t>(config_.temporal_patch_size) *
                     squared(config_.patch_size) * squared(side),
                 0.0F);
  try {
    (void)run(side, side);
  } catch (const OutOfMemory&) {
    throw;
  } catch (const Error& error) {
    const std::string patches = std::to_string(side) + "x" + std::to_string(side);
    throw Error(ErrorCode::kBadPack, "[VisionEncoder] " + session_.path() + ": " + patches +
                                         " patches do not become one token, as merge_size of "
                                         "pack.json says: export the pack again (" +
                                         error.what() + ")");
  }
}

Size VisionEncoder::target(Size size, std::int64_t max_pixels) const {
  return family_.target_size(size, config_, max_pixels > 0 ? max_pixels : config_.max_pixels);
}

int VisionEncoder::count_tokens(Size size, std::int64_t max_pixels) const {
  const Size target = this->target(size, max_pixels);
  const int block = config_.patch_size * config_.merge_size;
  return target.width / block * (target.height / block);
}

VisionFeatures VisionEncoder::encode(const ImageView& image, std::int64_t max_pixels) {
  const Size target = this->target({image.width, image.height}, max_pixels);
  PixelBuffer resized;
  ImageView view = image;
  if (target.width != image.width || target.height != image.height) {
    resized = resize(image, target.width, target.height);
    view = resized.view();
  }
  pixels_.resize(view.bytes() * static_cast<std::size_t>(config_.temporal_patch_size));
  family_.patchify(view, config_, pixels_);
  VisionFeatures features =
      run(target.height / config_.patch_size, target.width / config_.patch_size);
  if (session_.device()->is_host() && !all_finite(features.embeds.as<float>())) {
    throw Error(ErrorCode::kBackendFailed,
                "[VisionEncoder] " + session_.path() +
                    ": the features of an image are not finite: check the pack's parity report");
  }
  return features;
}

VisionFeatures VisionEncoder::run(int grid_height, int grid_width) {
  VisionFeatures features;
  features.grid_height = grid_height;
  features.grid_width = grid_width;
  features.tokens = grid_height / config_.merge_size * (grid_width / config_.merge_size);
  const std::int64_t patches = std::int64_t{grid_height} * grid_width;
  const auto patch_values = static_cast<std::int64_t>(pixels_.size()) / patches;
  const DeviceRef& device = session_.device();
  features.embeds = Tensor(ElementType::kFloat32, {features.tokens, config_.hidden}, device);
  run_.bind_input("pixel_values", Tensor::over(std::span<float>(pixels_), {patches, patch_values}));
  run_.bind_input("grid_thw", Tensor::of<std::int64_t>({1, grid_height, grid_width}, {1, 3}));
  run_.bind_output("embeds", features.embeds);
  if (config_.deepstack_levels > 0) {
    features.deepstack = Tensor(
        ElementType::kFloat32, {config_.deepstack_levels, features.tokens, config_.hidden}, device);
    run_.bind_output("deepstack", features.deepstack);
  }
  const StopSwitch::Work work(stop_);
  stop_.run(run_);
  run_.clear_bindings();  // the features are the caller's
  return features;
}

}  // namespace irt
