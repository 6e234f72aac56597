// The buffers and bindings of one transformer call: one batch size, one shape.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "models/denoiser.h"

namespace irt {

// Tokens of an image and of its reference (0 where there is none).
struct DenoiseShape {
  int rows = 0;
  int columns = 0;
  int reference_rows = 0;
  int reference_columns = 0;
  friend bool operator==(const DenoiseShape&, const DenoiseShape&) = default;
};
[[nodiscard]] DenoiseShape shape_of(const DenoiseJob& job) noexcept;

// Made once and reused: a step in the steady state allocates nothing and copies only what changed.
class DenoisePlan {
 public:
  DenoisePlan(const Session& transformer, const GeneratorConfig& config, const DenoiseShape& shape,
              int batch);
  DenoisePlan(const DenoisePlan&) = delete;
  DenoisePlan& operator=(const DenoisePlan&) = delete;

  [[nodiscard]] bool fits(const DenoiseShape& shape, int batch) const noexcept {
    return shape == shape_ && batch == batch_;
  }
  // Jobs of this plan's shape, one a row.
  void load(std::span<DenoiseJob* const> jobs);
  [[nodiscard]] Run& run() noexcept { return run_; }
  // After the run: the latents of row `row` one Euler step further.
  void advance(std::size_t row, const DenoiseJob& job, std::vector<float>& out) const;

 private:
  // What lies in a row of the buffers already; holding it keeps the identity from being reused.
  struct Resident {
    std::shared_ptr<const TextEmbedding> text;
    std::shared_ptr<const Latents> reference;
  };

  DenoiseShape shape_;
  int batch_;
  std::size_t row_values_;    // of all tokens of a row
  std::size_t noise_values_;  // of its noise tokens
  std::size_t text_values_;
  std::vector<float> hidden_;
  std::vector<float> text_;
  std::vector<float> timestep_;
  std::vector<float> velocity_;
  std::vector<std::int64_t> image_ids_;
  std::vector<std::int64_t> text_ids_;
  std::vector<Resident> resident_;
  Run run_;
};

}  // namespace irt
