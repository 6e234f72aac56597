// What families of flow matching have in common, over ONNX graphs (export/README.md: contracts):
// the tokens of noise and of reference pictures in one sequence, Euler steps, guidance pairs, a
// codec of packed latents. Parts: text_encoder, transformer, vae_encoder, vae_decoder.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "core/error.h"
#include "models/generator.h"
#include "tensor/session.h"

namespace irt {

// Sigmas of flow-match Euler: steps + 1 values, the last one 0. Formula: linspace(1, 1/n, n), then,
// with `shift` 0, e^mu / (e^mu + 1/s - 1), else shift * s / (1 + (shift - 1) * s). mu lies on the
// `line` through two points (image tokens, mu); without one it is FLUX.2's empirical one, by
// resolution and step count. With `terminal` they are stretched so that the last but one is
// `terminal`; one step is not stretched. Without `shift` and `terminal` those of diffusers'
// pipelines bit for bit, else those of its scheduler to 2e-7. Throws Error(kBadRequest) unless 1 <=
// steps <= 1000.
[[nodiscard]] std::vector<float> flow_sigmas(int steps, int image_tokens, double shift = 0.0,
                                             double terminal = 0.0,
                                             std::span<const double> line = {});

// Text conditioning: [1, tokens, text_dim], where the transformer's session works.
struct FlowText final : Conditioning {
  Tensor data;
};

// Packed, normalised latents of an image: [1, rows, columns, latent_channels], where the
// transformer's session works.
struct FlowReference final : Reference {
  int rows = 0;
  int columns = 0;
  Tensor data;
};

struct FlowJob final : GeneratorJob {
  std::shared_ptr<const FlowText> text;
  std::shared_ptr<const FlowText> negative;  // of a guidance pair; null: none
  float guidance = 1.0F;
  std::vector<std::shared_ptr<const FlowReference>> references;
  int rows = 0;  // in tokens
  int columns = 0;
  std::vector<float> sigmas;
  // [rows * columns, latent_channels], where the transformer's session works. Noise is indexed by
  // token, then channel.
  Tensor latents;
};

// Rows and columns of the image and of its references, in tokens.
using FlowSides = std::vector<std::pair<int, int>>;

// What a family is but for its ways with texts and pictures.
struct FlowRules {
  int axes = 0;                       // of a token's position
  std::int64_t text_tokens = kAny;    // of every text; kAny: as many as it has
  bool last_reference_sizes = false;  // an image is as large as its last reference, not the first
};

class FlowPlan;  // one transformer call: one shape, one batch size

class FlowGenerator : public Generator {
 public:
  FlowGenerator(const GeneratorConfig& config, const SessionOptions& options,
                const FlowRules& rules);
  ~FlowGenerator() override;

  ReferenceRef encode_image(const ImageView& image) override;
  std::unique_ptr<GeneratorJob> begin(const ImageTask& task) override;
  [[nodiscard]] bool same_shape(const GeneratorJob& a, const GeneratorJob& b) const override;
  void step(std::span<GeneratorJob* const> jobs) override;
  PixelBuffer decode(const GeneratorJob& given) override;
  void terminate() noexcept override { stop_.stop(); }

  // Position ids, `axes` a token, of the image and its references and of a text.
  struct Places {
    std::vector<std::int64_t> image;
    std::vector<std::int64_t> text;
  };
  [[nodiscard]] virtual Places places(const FlowSides& sides, std::int64_t text_tokens) const = 0;

 protected:
  // An image as its latents are made of it: sides of whole tokens; in `memory` where that is not
  // the image itself. Throws Error(kBadRequest) for one that cannot be taken.
  [[nodiscard]] virtual ImageView fitted(const ImageView& image, PixelBuffer& memory) const = 0;

  [[nodiscard]] Error refused(const std::string& text) const;
  // Throws Error(kBadRequest) unless ids and mask have max_sequence_length values.
  void check_text(std::span<const std::int64_t> ids, std::span<const std::int64_t> mask) const;
  void execute(Run& run);
  [[nodiscard]] const GeneratorConfig& config() const noexcept { return config_; }
  [[nodiscard]] const Session& text_encoder() const noexcept { return text_encoder_; }
  [[nodiscard]] const DeviceRef& device() const noexcept { return transformer_.device(); }

 private:
  void check_graphs() const;
  // The pack's word on how large a token is, against the graph; a wrong one would show in requests,
  // after work that grows with its square.
  void check_token_size();
  // The first graph on the way to an image that is not finite whose output is not.
  [[nodiscard]] const Session& culprit(const FlowJob& job) const;
  [[nodiscard]] std::shared_ptr<const FlowText> own(const ConditioningRef& given) const;
  // Jobs of one shape through the transformer, with their prompts or with the negative ones.
  const FlowPlan& run(std::span<FlowJob* const> jobs, bool negative);

  GeneratorConfig config_;
  FlowRules rules_;
  Session text_encoder_;
  Session transformer_;
  Session vae_encoder_;
  Session vae_decoder_;
  Run encode_run_;
  Run decode_run_;
  StopSwitch stop_;
  std::vector<std::unique_ptr<FlowPlan>> plans_;  // most recently used first
  std::vector<Tensor> staged_;                    // new latents until every group has succeeded
  std::vector<FlowJob*> order_;
  std::vector<float> planar_;
};

}  // namespace irt
