// Planner or critic: a vision-language model that answers prompts, many at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/answer_reader.h"
#include "engine/lane.h"
#include "engine/lru.h"
#include "models/decoder.h"
#include "models/sampler.h"
#include "models/vision.h"
#include "tensor/session.h"
#include "text/vocabulary.h"

namespace irt {

// What a pack's manifest says of it. Paths are of graphs.
struct VlmConfig {
  std::string decoder;
  std::string vision;            // empty: the model takes no images
  DecoderConfig decoder_config;  // merge_size: that of `vision_config`
  VisionConfig vision_config;    // hidden, deepstack_levels: those of `decoder_config`
  // A prompt with this many images or more limits each of them to `max_pixels_many`.
  int many = 5;
  std::int64_t max_pixels_many = 384 * 384;
  std::shared_ptr<const Vocabulary> tokens;
  std::vector<std::int64_t> true_tokens;  // ids whose text begins a true boolean
  std::vector<std::int64_t> false_tokens;
  // p(success) from which a verdict is true; not 0.5: one of the two gets a bonus when it is drawn.
  double verdict_threshold = 0.5;
  int max_new_tokens = 4096;
  SamplingParams sampling;  // of first answers; the seed comes from the call
  // Of answers: to prompts without images, or to all of them; to prompts with images, where those
  // have another one. Null: answers are not constrained.
  std::shared_ptr<const Grammar> grammar;
  std::shared_ptr<const Grammar> image_grammar;
  std::size_t vision_cache = 64;  // images whose features are kept
  SessionOptions session;
};

class VlmModel final : public RoleModel {
 public:
  // Loads the graphs: throws Error(kBadPack) or Error(kBackendFailed).
  explicit VlmModel(const VlmConfig& config);

  [[nodiscard]] int capacity() const noexcept override { return config_.decoder_config.slots; }
  void admit(const LaneCallRef& call) override;
  // The same with a reader of the caller's.
  void admit(const LaneCallRef& call, std::unique_ptr<AnswerReader> reader);
  void step(LaneEvents& events) override;
  bool cancel(const LaneCall& call) override;
  using RoleModel::prepare;
  void prepare(const ImageRef& image) override;
  void interrupt() noexcept override;
  void terminate() noexcept override;

  // Off: later calls are answered as if the role had no grammar. For measurements.
  void constrain(bool on) noexcept { constrained_ = on; }
  [[nodiscard]] BatchedDecoder::Counters counters() const noexcept { return decoder_.counters(); }

 private:
  using FeaturesRef = std::shared_ptr<const VisionFeatures>;
  struct Running {
    LaneCallRef call;
    SequenceId sequence = 0;
    std::unique_ptr<AnswerReader> reader;
    std::string answer;  // its first bytes
  };

  [[nodiscard]] FeaturesRef features(const ImageRef& image, Size white, bool cached,
                                     std::int64_t max_pixels);
  [[nodiscard]] SamplingParams sampling(std::uint64_t seed, int retry) const noexcept;
  void take(const TokenOut& out, LaneEvents& events);
  void fail(std::vector<Running>::iterator running, Failure failure, LaneEvents& events);
  LaneCallRef release(std::vector<Running>::iterator running);

  VlmConfig config_;
  // Before the decoder, which allocates by the numbers that this one checks.
  std::unique_ptr<VisionEncoder> vision_;
  BatchedDecoder decoder_;
  Lru<Key, FeaturesRef> features_;
  std::vector<Running> running_;
  std::vector<TokenOut> tokens_;  // of the last step
  bool constrained_ = true;
  std::atomic<bool> stopping_ = false;
};

}  // namespace irt
