// Planner or critic on the native runtime: one thread, continuous batching over its calls.
#pragma once

#include <memory>
#include <thread>
#include <vector>

#include "engine/images.h"
#include "engine/lane.h"
#include "engine/native_config.h"
#include "engine/text_broker.h"

namespace irt {

class VlmLane final : public Lane {
 public:
  // Loads the graphs: throws Error(kBadPack) or Error(kBackendFailed). `events`, `images` and
  // `texts` must outlive the lane. info.capacity must not exceed the decoder's slots.
  VlmLane(LaneInfo info, const VlmConfig& config, LaneEvents& events, ImageStore& images,
          TextBroker& texts);
  ~VlmLane() override;

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
