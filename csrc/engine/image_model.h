// The generator: makes images, a denoising step of many at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/lane.h"
#include "engine/lru.h"
#include "models/generator.h"
#include "tensor/session.h"

namespace irt {

// What a pack's manifest says of it.
struct ImageModelConfig {
  GeneratorConfig generator;
  int slots = 1;                  // images under way; those of one shape share batches
  std::size_t text_cache = 256;   // prompts whose embeddings are kept
  std::size_t latent_cache = 32;  // source images whose latents are kept
  // The other half of guidance pairs, encoded like a prompt; empty: no guidance.
  std::vector<std::int64_t> negative_ids;
  std::vector<std::int64_t> negative_mask;
  float guidance = 1.0F;
  SessionOptions session;
};

class ImageModel final : public RoleModel {
 public:
  // Loads the graphs: throws Error(kBadPack) or Error(kBackendFailed).
  explicit ImageModel(const ImageModelConfig& config);

  [[nodiscard]] int capacity() const noexcept override { return slots_; }
  void admit(const LaneCallRef& call) override;
  // One denoising step for the images that may share a batch with the first certain one.
  void step(LaneEvents& events) override;
  bool cancel(const LaneCall& call) override;
  void prepare(const EncodedText& text) override;
  void prepare(const ImageRef& source) override;
  void interrupt() noexcept override;
  void terminate() noexcept override;

 private:
  struct Running {
    LaneCallRef call;
    std::unique_ptr<GeneratorJob> job;
  };

  [[nodiscard]] ConditioningRef embed(const EncodedText& text, const std::vector<ImageRef>& images,
                                      bool cached);
  [[nodiscard]] ReferenceRef encode(const ImageRef& source, bool cached);
  void finish(const Running& running, LaneEvents& events);

  int slots_;
  EncodedText negative_;
  float guidance_;
  std::unique_ptr<Generator> generator_;
  Lru<Key, ConditioningRef> texts_;
  Lru<Key, ReferenceRef> references_;
  std::vector<std::unique_ptr<Running>> running_;  // in the order of their admission
  std::vector<GeneratorJob*> jobs_;                // scratch: of the step, and whose they are
  std::vector<const LaneCall*> calls_;
  std::atomic<bool> stopping_ = false;
};

}  // namespace irt
