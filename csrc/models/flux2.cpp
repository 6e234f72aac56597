#include "models/flux2.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "models/flow.h"

namespace irt {
namespace {

constexpr std::int64_t kMaxReferenceArea = 1024 * 1024;

class Flux2 final : public FlowGenerator {
 public:
  Flux2(const GeneratorConfig& config, const SessionOptions& options)
      : FlowGenerator(config, options, {.axes = 4, .text_tokens = config.max_sequence_length}),
        text_run_(text_encoder()) {
    const std::int64_t length = config.max_sequence_length;
    text_encoder().require_input("input_ids", ElementType::kInt64, {1, length});
    text_encoder().require_input("attention_mask", ElementType::kInt64, {1, length});
  }

  ConditioningRef encode_text(std::span<const std::int64_t> ids, std::span<const std::int64_t> mask,
                              std::span<const ImageView> /*sources*/) override {
    check_text(ids, mask);
    const std::int64_t length = config().max_sequence_length;
    auto text = std::make_shared<FlowText>();
    text->data = Tensor(ElementType::kFloat32, {1, length, config().text_dim}, device());
    const std::vector<std::int64_t> id_values(ids.begin(), ids.end());
    const std::vector<std::int64_t> mask_values(mask.begin(), mask.end());
    text_run_.bind_input("input_ids", Tensor::of(id_values, {1, length}));
    text_run_.bind_input("attention_mask", Tensor::of(mask_values, {1, length}));
    text_run_.bind_output("prompt_embeds", text->data);
    execute(text_run_);
    text_run_.clear_bindings();
    return text;
  }

  // (time, row, column, text index); reference number i (from 1) lies at time i * reference_time,
  // as in diffusers.
  [[nodiscard]] Places places(const FlowSides& sides, std::int64_t text_tokens) const override {
    Places found;
    for (std::size_t i = 0; i < sides.size(); ++i) {
      const std::int64_t time = static_cast<std::int64_t>(i) * config().reference_time;
      for (int row = 0; row < sides[i].first; ++row) {
        for (int column = 0; column < sides[i].second; ++column) {
          found.image.insert(found.image.end(), {time, row, column, 0});
        }
      }
    }
    for (std::int64_t i = 0; i < text_tokens; ++i) {
      found.text.insert(found.text.end(), {0, 0, 0, i});
    }
    return found;
  }

 protected:
  // At most 1024 x 1024 pixels of area, cropped to whole tokens, as diffusers' Flux2KleinPipeline
  // does.
  [[nodiscard]] ImageView fitted(const ImageView& image, PixelBuffer& memory) const override {
    const int token = config().token_pixels;
    ImageView view = image;
    const std::int64_t area = std::int64_t{image.width} * image.height;
    if (image.width > 0 && image.height > 0 && area > kMaxReferenceArea) {
      const double scale =
          std::sqrt(static_cast<double>(kMaxReferenceArea) / static_cast<double>(area));
      memory = resize(image, std::max(static_cast<int>(image.width * scale), 1),
                      std::max(static_cast<int>(image.height * scale), 1), Filter::kLanczos);
      view = memory.view();
    }
    if (view.width < token || view.height < token) {
      throw refused("a reference image of " + std::to_string(image.width) + "x" +
                    std::to_string(image.height) + " is too small: both sides need " +
                    std::to_string(token) + " pixels or more after scaling to 1024x1024 of area");
    }
    const int width = view.width / token * token;
    const int height = view.height / token * token;
    if (width == view.width && height == view.height) return view;
    memory = crop_center(view, width, height);
    return memory.view();
  }

 private:
  Run text_run_;
};

}  // namespace

std::unique_ptr<Generator> make_flux2(const GeneratorConfig& config,
                                      const SessionOptions& options) {
  return std::make_unique<Flux2>(config, options);
}

}  // namespace irt
