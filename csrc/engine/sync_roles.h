// The roles as plain synchronous calls at batch 1: what the sequential reference loop uses.
// They share models and arithmetic with the lanes, but no scheduling, caching, batching or early
// stop: an answer is decoded to its end and read afterwards.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/native_config.h"
#include "engine/vlm.h"

namespace irt {

struct Answer {
  std::string text;  // bytes, without control tokens
  std::vector<std::int64_t> tokens;
  std::vector<std::size_t> offsets;  // of each token's first byte in `text`
  std::vector<double> p_success;     // at each token
  StopReason stop = StopReason::kNone;
};

// What `SyncVlm` is asked; ids and pixels are only looked at.
struct Question {
  std::span<const std::int64_t> ids;
  std::vector<ImageView> images;
  std::uint64_t seed = 0;
  int retry = 0;
};

// Not thread-safe.
class SyncVlm {
 public:
  // `slots` above 1 serve `answers` alone.
  explicit SyncVlm(const VlmConfig& config, int slots = 1);
  [[nodiscard]] Answer answer(std::span<const std::int64_t> ids, std::span<const ImageView> images,
                              std::uint64_t seed, int retry);
  // All of them, as many at once as there are slots; for measurements over many answers.
  [[nodiscard]] std::vector<Answer> answers(std::span<const Question> questions);
  // Without: as if the role had no grammar.
  void constrain(bool on) noexcept { constrained_ = on; }
  [[nodiscard]] BatchedDecoder::Counters counters() noexcept { return vlm_.decoder().counters(); }

 private:
  [[nodiscard]] SequenceId admit(const Question& question);
  void take(const TokenOut& token, Answer& answer) const;

  Vlm vlm_;
  bool constrained_ = true;
};

// Not thread-safe.
class SyncGenerator {
 public:
  explicit SyncGenerator(const GeneratorLaneConfig& config);
  // `source` without data: text-to-image. Sizes and steps 0 = the pack's defaults.
  [[nodiscard]] PixelBuffer generate(std::span<const std::int64_t> ids,
                                     std::span<const std::int64_t> mask, const ImageView& source,
                                     std::uint64_t seed, int width, int height, int steps);

 private:
  Denoiser denoiser_;
};

}  // namespace irt
