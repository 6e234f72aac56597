#include "models/qwen_image.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/error.h"
#include "models/flow.h"
#include "models/vision.h"

namespace irt {
namespace {

constexpr int kSideStep = 32;          // sides of scaled pictures are multiples of it
constexpr std::size_t kMostSeen = 16;  // pictures whose features are kept

class QwenImage final : public FlowGenerator {
 public:
  QwenImage(const GeneratorConfig& config, const SessionOptions& options)
      : FlowGenerator(config, options, {.axes = 3, .last_reference_sizes = true}),
        text_run_(text_encoder()),
        vision_(config.part("vision"), seen(config), options) {
    if (config.prompt_skip < 0 || config.prompt_skip >= config.max_sequence_length ||
        config.seen_area < 1 || config.encoded_area < 1 || kSideStep % config.token_pixels != 0) {
      throw Error(ErrorCode::kBadPack,
                  "[qwen_image] " + config.part("vision") +
                      ": conditioning of pack.json does not fit the pack: export it again");
    }
    text_encoder().require_input("input_ids", ElementType::kInt64, {1, kAny});
    text_encoder().require_input("position_ids", ElementType::kInt64, {3, 1, kAny});
    text_encoder().require_input("image_embeds", ElementType::kFloat32, {kAny, config.text_dim});
  }

  [[nodiscard]] bool text_reads_images() const noexcept override { return true; }

  [[nodiscard]] std::optional<PixelBuffer> blank(int width, int height) const override {
    return white_image(width == 0 ? config().default_width : width,
                       height == 0 ? config().default_height : height);
  }

  ConditioningRef encode_text(std::span<const std::int64_t> ids, std::span<const std::int64_t> mask,
                              std::span<const ImageView> sources) override {
    check_text(ids, mask);
    if (sources.empty() || sources.size() > config().between_pictures.size() + 1) {
      throw refused(std::to_string(sources.size()) +
                    " pictures to start from: this pack takes 1 to " +
                    std::to_string(config().between_pictures.size() + 1));
    }
    std::vector<VisionFeatures> pictures;  // handles of tensors
    std::vector<ImageGrid> grids;
    std::int64_t features = 0;
    const int merge = config().vision.merge_size;
    for (const ImageView& source : sources) {
      const VisionFeatures& made = pictures.emplace_back(look(source));
      grids.push_back({made.grid_height / merge, made.grid_width / merge});
      features += made.tokens;
    }
    const Tensor embeds(ElementType::kFloat32, {features, config().text_dim}, device());
    std::int64_t at = 0;
    for (const VisionFeatures& made : pictures) {
      embeds.rows(at, made.tokens).copy_from(made.embeds);
      at += made.tokens;
    }
    const auto words = static_cast<std::size_t>(std::ranges::count(mask, 1));
    return encode(with_pictures(ids.first(words), pictures), grids, embeds);
  }

  // (picture, row, column), rows and columns counted from the middle; a text stands on the diagonal
  // behind all of them. As in diffusers.
  [[nodiscard]] Places places(const FlowSides& sides, std::int64_t text_tokens) const override {
    Places found;
    std::int64_t behind = 0;
    for (std::size_t i = 0; i < sides.size(); ++i) {
      const auto [rows, columns] = sides[i];
      for (int row = 0; row < rows; ++row) {
        for (int column = 0; column < columns; ++column) {
          found.image.insert(found.image.end(),
                             {static_cast<std::int64_t>(i), row - (rows - rows / 2),
                              column - (columns - columns / 2)});
        }
      }
      behind = std::max<std::int64_t>({behind, rows / 2, columns / 2});
    }
    for (std::int64_t i = behind; i < behind + text_tokens; ++i) {
      found.text.insert(found.text.end(), {i, i, i});
    }
    return found;
  }

  void terminate() noexcept override {
    FlowGenerator::terminate();
    vision_.terminate();
  }

 protected:
  [[nodiscard]] ImageView fitted(const ImageView& image, PixelBuffer& memory) const override {
    memory = scaled(image, config().encoded_area);
    return memory.view();
  }

 private:
  [[nodiscard]] static VisionConfig seen(const GeneratorConfig& config) {
    VisionConfig vision = config.vision;
    vision.hidden = config.text_dim;
    return vision;
  }

  // As calculate_dimensions and resize of diffusers' pipeline do.
  [[nodiscard]] PixelBuffer scaled(const ImageView& image, std::int64_t area) const {
    int width = 0;
    int height = 0;
    if (image.width > 0 && image.height > 0) {
      const double ratio = static_cast<double>(image.width) / image.height;
      const double wide = std::sqrt(static_cast<double>(area) * ratio);
      const auto snapped = [](double side) {
        return static_cast<int>(std::nearbyint(side / kSideStep)) * kSideStep;
      };
      width = snapped(wide);
      height = snapped(wide / ratio);
    }
    if (width < 1 || height < 1) {
      throw refused("a picture of " + std::to_string(image.width) + "x" +
                    std::to_string(image.height) + " is too narrow to start from");
    }
    return resize(image, width, height, Filter::kLanczos);
  }

  // Features of a picture; those of the last ones are kept: the two prompts of a guidance pair and
  // the tries of a step look at the same.
  [[nodiscard]] VisionFeatures look(const ImageView& source) {
    PixelBuffer pixels = scaled(source, config().seen_area);
    const auto found = std::ranges::find_if(seen_, [&pixels](const auto& known) {
      return known.first.width == pixels.width && known.first.data == pixels.data;
    });
    if (found != seen_.end()) {
      std::rotate(seen_.begin(), found, found + 1);
    } else {
      VisionFeatures made = vision_.encode(pixels.view());
      if (seen_.size() == kMostSeen) seen_.pop_back();
      seen_.emplace(seen_.begin(), std::move(pixels), std::move(made));
    }
    return seen_.front().second;
  }

  // A prompt's ids, with as many image tokens for each picture as it has features.
  [[nodiscard]] std::vector<std::int64_t> with_pictures(
      std::span<const std::int64_t> ids, const std::vector<VisionFeatures>& pictures) const {
    const auto mark = std::ranges::find(ids, std::int64_t{config().image_token_id});
    if (mark == ids.end()) throw refused("the prompt has no place for a picture");
    std::vector<std::int64_t> all(ids.begin(), mark);
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      if (i > 0) {
        const auto& between = config().between_pictures[i - 1];
        all.insert(all.end(), between.begin(), between.end());
      }
      all.insert(all.end(), static_cast<std::size_t>(pictures[i].tokens), config().image_token_id);
    }
    all.insert(all.end(), mark + 1, ids.end());
    return all;
  }

  [[nodiscard]] ConditioningRef encode(const std::vector<std::int64_t>& ids,
                                       const std::vector<ImageGrid>& grids, const Tensor& embeds) {
    const auto count = static_cast<std::int64_t>(ids.size());
    const std::int64_t kept = count - config().prompt_skip;
    if (kept < 1) throw refused("the prompt is shorter than what the pack has before every one");
    const Positions positions =
        vlm_family(config().vision.family).positions(ids, config().image_token_id, grids);
    const Tensor all(ElementType::kFloat32, {count, config().text_dim}, device());
    text_run_.bind_input("input_ids", Tensor::of(ids, {1, count}));
    text_run_.bind_input("position_ids", Tensor::of(positions.ids, {3, 1, count}));
    text_run_.bind_input("image_embeds", embeds);
    text_run_.bind_output("prompt_embeds", all.view(0, {1, count, config().text_dim}));
    execute(text_run_);
    text_run_.clear_bindings();
    auto text = std::make_shared<FlowText>();
    text->data = all.rows(config().prompt_skip, kept).view(0, {1, kept, config().text_dim});
    return text;
  }

  Run text_run_;
  VisionEncoder vision_;
  std::vector<std::pair<PixelBuffer, VisionFeatures>> seen_;  // most recently used first
};

}  // namespace

std::unique_ptr<Generator> make_qwen_image(const GeneratorConfig& config,
                                           const SessionOptions& options) {
  return std::make_unique<QwenImage>(config, options);
}

}  // namespace irt
