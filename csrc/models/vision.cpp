#include "models/vision.h"

#include <algorithm>

#include "core/error.h"

namespace irt {
namespace {

void check_config(const std::string& path, const VisionConfig& config) {
  const auto positive = [](float value) { return value > 0.0F; };
  if (config.patch_size < 1 || config.merge_size < 1 || config.temporal_patch_size < 1 ||
      config.hidden < 1 || config.deepstack_levels < 0 || config.min_pixels < 1 ||
      config.max_pixels < config.min_pixels || !std::ranges::all_of(config.std, positive)) {
    throw Error(ErrorCode::kBadPack,
                "[VisionEncoder] " + path +
                    ": vision_config of pack.json needs positive sizes, positive image_std and "
                    "min_pixels <= max_pixels: export the pack again");
  }
}

}  // namespace

struct VisionEncoder::Impl {
  VisionConfig config;
  const VlmFamily& family;
  Session session;
  Run run;
  StopSwitch stop;
  std::vector<float> pixels;

  Impl(const std::string& path, const VisionConfig& vision, const SessionOptions& options)
      : config(vision), family(vlm_family(vision.family)), session(path, options), run(session) {
    const std::int64_t patch_values =
        3LL * config.temporal_patch_size * config.patch_size * config.patch_size;
    session.require_input("pixel_values", ElementType::kFloat32, {kAny, patch_values});
    session.require_input("grid_thw", ElementType::kInt64, {1, 3});
    session.require_output("embeds", ElementType::kFloat32, {kAny, config.hidden});
    if (config.deepstack_levels > 0) {
      session.require_output("deepstack", ElementType::kFloat32,
                             {config.deepstack_levels, kAny, config.hidden});
    }
  }

  [[nodiscard]] Size target(Size size, std::int64_t max_pixels) const {
    return family.target_size(size, config, max_pixels > 0 ? max_pixels : config.max_pixels);
  }
};

VisionEncoder::VisionEncoder(const std::string& path, const VisionConfig& config,
                             const SessionOptions& options) {
  check_config(path, config);
  impl_ = std::make_unique<Impl>(path, config, options);
}

VisionEncoder::~VisionEncoder() = default;

int VisionEncoder::count_tokens(Size size, std::int64_t max_pixels) const {
  const Size target = impl_->target(size, max_pixels);
  const int block = impl_->config.patch_size * impl_->config.merge_size;
  return target.width / block * (target.height / block);
}

VisionFeatures VisionEncoder::encode(const ImageView& image, std::int64_t max_pixels) {
  Impl& self = *impl_;
  const VisionConfig& config = self.config;
  const Size size{image.width, image.height};
  const Size target = self.target(size, max_pixels);
  PixelBuffer resized;
  ImageView view = image;
  if (target.width != image.width || target.height != image.height) {
    resized = resize_bicubic(image, target.width, target.height);
    view = resized.view();
  }
  VisionFeatures features;
  features.grid_height = target.height / config.patch_size;
  features.grid_width = target.width / config.patch_size;
  features.tokens = count_tokens(size, max_pixels);
  self.pixels.resize(view.bytes() * static_cast<std::size_t>(config.temporal_patch_size));
  self.family.patchify(view, config, self.pixels);
  const std::int64_t patches = std::int64_t{features.grid_height} * features.grid_width;
  const auto patch_values = static_cast<std::int64_t>(self.pixels.size()) / patches;
  const DeviceRef& device = self.session.device();
  features.embeds = Tensor(ElementType::kFloat32, {features.tokens, config.hidden}, device);
  Run& run = self.run;
  run.bind_input("pixel_values",
                 Tensor::over(std::span<float>(self.pixels), {patches, patch_values}));
  run.bind_input("grid_thw",
                 Tensor::of<std::int64_t>({1, features.grid_height, features.grid_width}, {1, 3}));
  run.bind_output("embeds", features.embeds);
  if (config.deepstack_levels > 0) {
    features.deepstack = Tensor(ElementType::kFloat32,
                                {config.deepstack_levels, features.tokens, config.hidden}, device);
    run.bind_output("deepstack", features.deepstack);
  }
  const StopSwitch::Work work(self.stop);
  self.stop.run(run);
  run.clear_bindings();  // the features are the caller's
  return features;
}

void VisionEncoder::terminate() noexcept { impl_->stop.stop(); }

}  // namespace irt
