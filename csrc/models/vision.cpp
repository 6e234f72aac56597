#include "models/vision.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "tensor/contract.h"

namespace irt {
namespace {

std::string to_text(Size size) {
  return std::to_string(size.width) + "x" + std::to_string(size.height);
}

// One value per channel and byte: rescaled in double, normalised in float, as the processor does.
using Table = std::array<std::array<float, 256>, 3>;

Table normalisation(const VisionConfig& config) noexcept {
  Table table{};
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t v = 0; v < 256; ++v) {
      const auto unit = static_cast<float>(static_cast<double>(v) * (1.0 / 255.0));
      const float centred = unit - config.mean[c];
      table[c][v] = centred / config.std[c];
    }
  }
  return table;
}

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

Size smart_resize(Size size, int factor, std::int64_t min_pixels, std::int64_t max_pixels) {
  if (size.width <= 0 || size.height <= 0 ||
      std::max(size.width, size.height) > 200.0 * std::min(size.width, size.height)) {
    throw Error(ErrorCode::kBadRequest,
                "[VisionEncoder] an image of " + to_text(size) +
                    " cannot be read: sides must be positive, the aspect ratio at most 200");
  }
  const double height = size.height;
  const double width = size.width;
  // nearbyint rounds half to even, as Python's round does.
  const auto rounded = [factor](double side) {
    return static_cast<std::int64_t>(std::nearbyint(side / factor)) * factor;
  };
  const auto lowered = [factor](double side) {
    return static_cast<std::int64_t>(std::floor(side / factor)) * factor;
  };
  const auto raised = [factor](double side) {
    return static_cast<std::int64_t>(std::ceil(side / factor)) * factor;
  };
  std::int64_t out_height = rounded(height);
  std::int64_t out_width = rounded(width);
  if (out_height * out_width > max_pixels) {
    const double beta = std::sqrt(height * width / static_cast<double>(max_pixels));
    out_height = std::max<std::int64_t>(factor, lowered(height / beta));
    out_width = std::max<std::int64_t>(factor, lowered(width / beta));
  } else if (out_height * out_width < min_pixels) {
    const double beta = std::sqrt(static_cast<double>(min_pixels) / (height * width));
    out_height = raised(height * beta);
    out_width = raised(width * beta);
  }
  return {static_cast<int>(out_width), static_cast<int>(out_height)};
}

void patchify(const ImageView& image, const VisionConfig& config, std::span<float> out) noexcept {
  const Table table = normalisation(config);
  const int patch = config.patch_size;
  const int merge = config.merge_size;
  const int block = patch * merge;
  const auto plane = static_cast<std::size_t>(patch) * static_cast<std::size_t>(patch);
  float* target = out.data();
  for (int by = 0; by < image.height; by += block) {
    for (int bx = 0; bx < image.width; bx += block) {
      for (int inner = 0; inner < merge * merge; ++inner) {
        const int top = by + inner / merge * patch;
        const int left = bx + inner % merge * patch;
        for (std::size_t c = 0; c < 3; ++c) {
          const float* first = target;
          for (int y = top; y < top + patch; ++y) {
            const std::uint8_t* pixel =
                image.data +
                (static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width) +
                 static_cast<std::size_t>(left)) *
                    3 +
                c;
            for (int x = 0; x < patch; ++x, pixel += 3) *target++ = table[c][*pixel];
          }
          for (int t = 1; t < config.temporal_patch_size; ++t) {
            target = std::copy_n(first, plane, target);
          }
        }
      }
    }
  }
}

struct VisionEncoder::Impl {
  VisionConfig config;
  Session session;
  Run run;
  std::vector<float> pixels;
  std::array<std::int64_t, 3> grid{};

  Impl(const std::string& path, const VisionConfig& vision, const SessionOptions& options)
      : config(vision), session(path, options), run(session) {
    const std::int64_t patch_values =
        3LL * config.temporal_patch_size * config.patch_size * config.patch_size;
    require_input(session, path, "pixel_values", ElementType::kFloat32, {kAny, patch_values});
    require_input(session, path, "grid_thw", ElementType::kInt64, {1, 3});
    require_output(session, path, "embeds", ElementType::kFloat32, {kAny, config.hidden});
    if (config.deepstack_levels > 0) {
      require_output(session, path, "deepstack", ElementType::kFloat32,
                     {config.deepstack_levels, kAny, config.hidden});
    }
  }

  [[nodiscard]] Size target(Size size, std::int64_t max_pixels) const {
    const std::int64_t most = max_pixels > 0 ? max_pixels : config.max_pixels;
    return smart_resize(size, config.patch_size * config.merge_size,
                        std::min(config.min_pixels, most), most);
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
  const auto tokens = static_cast<std::size_t>(features.tokens);
  const auto hidden = static_cast<std::size_t>(config.hidden);
  const auto levels = static_cast<std::size_t>(config.deepstack_levels);
  features.embeds.resize(tokens * hidden);
  features.deepstack.resize(levels * tokens * hidden);
  self.pixels.resize(view.bytes() * static_cast<std::size_t>(config.temporal_patch_size));
  patchify(view, config, self.pixels);
  self.grid = {1, features.grid_height, features.grid_width};

  const std::int64_t patches = self.grid[1] * self.grid[2];
  const auto patch_values = static_cast<std::int64_t>(self.pixels.size()) / patches;
  const std::array<std::int64_t, 2> pixel_shape{patches, patch_values};
  const std::array<std::int64_t, 2> grid_shape{1, 3};
  const std::array<std::int64_t, 2> embeds_shape{features.tokens, config.hidden};
  const std::array<std::int64_t, 3> deep_shape{config.deepstack_levels, features.tokens,
                                               config.hidden};
  // Outputs are the caller's to keep, so that the bindings of the last image are dropped.
  self.run.clear_bindings();
  self.run.bind_input("pixel_values", Value::wrap(std::span<float>(self.pixels), pixel_shape));
  self.run.bind_input("grid_thw", Value::wrap(std::span<std::int64_t>(self.grid), grid_shape));
  self.run.bind_output("embeds", Value::wrap(std::span<float>(features.embeds), embeds_shape));
  if (config.deepstack_levels > 0) {
    self.run.bind_output("deepstack",
                         Value::wrap(std::span<float>(features.deepstack), deep_shape));
  }
  self.run.run();
  return features;
}

void VisionEncoder::terminate() noexcept { impl_->run.terminate(); }

}  // namespace irt
