// The models of the roles on the caller's thread, without lane, cache or early stop: what the
// sequential reference loop and measurements use. An answer is decoded to its end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/image_model.h"
#include "engine/vlm_model.h"

namespace irt {

struct Answer {
  std::string text;  // bytes, without control tokens
  std::vector<std::int64_t> tokens;
  std::vector<std::size_t> offsets;  // of each token's first byte in `text`
  std::vector<double> p_success;     // at each token
  StopReason stop = StopReason::kNone;
};

// `ids` and pixels are only looked at.
struct Question {
  std::span<const std::int64_t> ids;
  std::vector<ImageView> images;
  std::uint64_t seed = 0;
  int retry = 0;
};

// Not thread-safe.
class InlineVlm {
 public:
  // `slots` above 1 serve `answers` alone.
  explicit InlineVlm(VlmConfig config, int slots = 1);
  // What goes wrong with one question is thrown, and ends all of them.
  [[nodiscard]] std::vector<Answer> answers(std::span<const Question> questions);
  [[nodiscard]] Answer answer(const Question& question);
  void constrain(bool on) noexcept { model_.constrain(on); }
  [[nodiscard]] BatchedDecoder::Counters counters() const noexcept { return model_.counters(); }

 private:
  VlmModel model_;
};

// Not thread-safe.
class InlineGenerator {
 public:
  explicit InlineGenerator(const ImageModelConfig& config) : model_(config) {}
  // Without sources: text-to-image. Sizes and steps 0 = the pack's defaults.
  [[nodiscard]] PixelBuffer generate(std::span<const std::int64_t> ids,
                                     std::span<const std::int64_t> mask,
                                     std::span<const ImageView> sources, std::uint64_t seed,
                                     int width, int height, int steps);

 private:
  ImageModel model_;
};

}  // namespace irt
