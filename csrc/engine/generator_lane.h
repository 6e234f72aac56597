// The image generator on the native runtime: one thread, batches formed at denoising steps.
#pragma once

#include <memory>

#include "engine/images.h"
#include "engine/lane.h"
#include "engine/native_config.h"
#include "engine/text_broker.h"

namespace irt {

class GeneratorLane final : public Lane {
 public:
  // Loads the graphs: throws Error(kBadPack) or Error(kBackendFailed). `events`, `images` and
  // `texts` must outlive the lane.
  GeneratorLane(LaneInfo info, const GeneratorLaneConfig& config, LaneEvents& events,
                ImageStore& images, TextBroker& texts);
  ~GeneratorLane() override;

  [[nodiscard]] const LaneInfo& info() const noexcept override;
  void start(const Call& call, bool speculative) override;
  void promote(const Key& call) override;
  void cancel(const Key& call) override;
  void hint(const Hint& hint) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace irt
