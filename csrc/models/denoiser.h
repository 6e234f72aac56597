// The image generator: FLUX.2-klein's flow matching over ONNX graphs (export/README.md: contracts).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/pixels.h"
#include "tensor/ort.h"

namespace irt {

struct GeneratorConfig {
  std::string text_encoder;  // paths
  std::string transformer;
  std::string vae_encoder;
  std::string vae_decoder;
  int latent_channels = 0;  // of a packed token
  int text_dim = 0;
  int max_sequence_length = 512;
  int token_pixels = 16;
  int reference_time = 10;
  int default_width = 0;
  int default_height = 0;
  int default_steps = 4;
  int max_batch = 1;  // 1 where the transformer is not batch-invariant
};

// Text conditioning: [max_sequence_length, text_dim].
struct TextEmbedding {
  std::vector<float> data;
};

// Packed, normalised latents of an image: [rows * columns, latent_channels].
struct Latents {
  int rows = 0;
  int columns = 0;
  std::vector<float> data;
};

// Sigmas of flow-match Euler with FLUX.2's empirical shift: steps + 1 values, the last one 0; those
// of diffusers' Flux2KleinPipeline, bit for bit. Formula: linspace(1, 1/n, n), then e^mu / (e^mu +
// 1/s - 1), mu by resolution and step count. Throws Error(kBadRequest) unless 1 <= steps <= 1000.
[[nodiscard]] std::vector<float> flow_sigmas(int steps, int image_tokens);

// Standard normal noise from a counter (seed, index): Box-Muller over splitmix64 uniforms, in
// double. Values 2p and 2p + 1 are float(r cos a) and float(r sin a) with
//   u(k) = ((mix64(mix64(seed) + k * 0x9e3779b97f4a7c15) >> 11) + 0.5) * 2^-53   (core/key.h)
//   r = sqrt(-2 ln u(2p)),  a = 2 pi u(2p + 1).
// A job's noise is indexed by token, then channel. The parity tests restate this in Python.
void gaussian_noise(std::uint64_t seed, std::span<float> out) noexcept;

// One image being made. Plain data: a lane owns it, the denoiser advances it.
struct DenoiseJob {
  std::shared_ptr<const TextEmbedding> text;
  std::shared_ptr<const Latents> reference;  // null: text-to-image
  int rows = 0;                              // in tokens
  int columns = 0;
  std::vector<float> sigmas;
  int next_step = 0;
  std::vector<float> latents;  // [rows * columns, latent_channels]

  [[nodiscard]] bool finished() const noexcept {
    return next_step + 1 >= static_cast<int>(sigmas.size());
  }
};

// Not thread-safe: one object a lane.
class Denoiser {
 public:
  Denoiser(const GeneratorConfig& config, const SessionOptions& options);
  ~Denoiser();

  // `ids` and `mask`: max_sequence_length values each.
  [[nodiscard]] TextEmbedding encode_text(std::span<const std::int64_t> ids,
                                          std::span<const std::int64_t> mask);
  // The reference image is scaled down to at most 1024 x 1024 pixels of area and cropped to whole
  // tokens, as diffusers' Flux2KleinPipeline does. Throws Error(kBadRequest) for one that is
  // smaller than a token.
  [[nodiscard]] Latents encode_image(const ImageView& image);
  // Size 0 = that of the reference image, else the default; steps 0 = the default. Throws
  // Error(kBadRequest) when a side is not a multiple of token_pixels.
  [[nodiscard]] DenoiseJob begin(std::shared_ptr<const TextEmbedding> text,
                                 std::shared_ptr<const Latents> reference, std::uint64_t seed,
                                 int width, int height, int steps);
  // One Euler step for each job (up to max_batch jobs of one shape run as one batch; jobs may be at
  // different points of their schedules). On an error no job advances.
  void step(std::span<DenoiseJob* const> jobs);
  // Whether two jobs may share a batch.
  [[nodiscard]] static bool same_shape(const DenoiseJob& a, const DenoiseJob& b) noexcept;
  // Throws Error(kInternal) for a job that is not finished, Error(kBackendFailed) when the
  // decoder's output is not finite.
  [[nodiscard]] PixelBuffer decode(const DenoiseJob& job);
  // From another thread: ends a run in progress, which throws Error(kCancelled).
  void terminate() noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace irt
