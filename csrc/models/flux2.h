// FLUX.2-klein: flow matching over ONNX graphs (export/README.md: contracts). Parts: text_encoder,
// transformer, vae_encoder, vae_decoder.
#pragma once

#include <memory>
#include <vector>

#include "models/generator.h"

namespace irt {

[[nodiscard]] std::unique_ptr<Generator> make_flux2(const GeneratorConfig& config,
                                                    const SessionOptions& options);

// Sigmas of flow-match Euler: steps + 1 values, the last one 0. Formula: linspace(1, 1/n, n), then,
// with `shift` 0, FLUX.2's empirical e^mu / (e^mu + 1/s - 1), mu by resolution and step count, else
// shift * s / (1 + (shift - 1) * s). With `terminal` they are stretched so that the last but one is
// `terminal`; one step is not stretched. Without `shift` and `terminal` those of diffusers'
// Flux2KleinPipeline bit for bit, else those of its scheduler to 2e-7. Throws Error(kBadRequest)
// unless 1 <= steps <= 1000.
[[nodiscard]] std::vector<float> flow_sigmas(int steps, int image_tokens, double shift = 0.0,
                                             double terminal = 0.0);

// Text conditioning: [max_sequence_length, text_dim], where the transformer's session works.
struct Flux2Text final : Conditioning {
  Tensor data;
};

// Packed, normalised latents of an image: [rows * columns, latent_channels], where the
// transformer's session works. Reference images are scaled down to at most 1024 x 1024 pixels of
// area and cropped to whole tokens, as diffusers' Flux2KleinPipeline does.
struct Flux2Reference final : Reference {
  int rows = 0;
  int columns = 0;
  Tensor data;
};

struct Flux2Job final : GeneratorJob {
  std::shared_ptr<const Flux2Text> text;
  std::shared_ptr<const Flux2Text> negative;  // of a guidance pair; null: none
  float guidance = 1.0F;
  std::vector<std::shared_ptr<const Flux2Reference>> references;
  int rows = 0;  // in tokens
  int columns = 0;
  std::vector<float> sigmas;
  // [rows * columns, latent_channels], where the transformer's session works. Noise is indexed by
  // token, then channel.
  Tensor latents;
};

}  // namespace irt
