// What a family of image generators is. A family is one C++ file that implements `Generator`, and
// one row of the table in generator.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "models/pixels.h"
#include "models/vlm_family.h"
#include "tensor/session.h"

namespace irt {

// A graph of a pack, under the name that the family gives it.
struct Part {
  std::string name;
  std::string path;
};

struct GeneratorConfig {
  std::string family = "flux2";
  std::vector<Part> parts;
  int latent_channels = 0;  // of a packed token
  int text_dim = 0;
  int max_sequence_length = 512;
  int token_pixels = 16;
  int reference_time = 10;
  int default_width = 0;
  int default_height = 0;
  int default_steps = 4;
  double shift = 0.0;           // of the noise schedule; 0: the family's own, by resolution
  double shift_terminal = 0.0;  // where the schedule is stretched to end before 0; 0: it is not
  // Two points (image tokens, mu) of a linear shift; empty: the shift is another one.
  std::vector<double> shift_line;
  bool rescale_guidance = false;  // guided tokens are as long as without guidance
  int max_batch = 1;              // 1 where the transformer is not batch-invariant

  // Of text encoders that look at the pictures that one starts from.
  VisionConfig vision;
  int image_token_id = 0;         // stands once in a prompt, for the first picture
  int prompt_skip = 0;            // tokens of a prompt that the transformer does not read
  std::int64_t seen_area = 0;     // pixels of a picture that is looked at
  std::int64_t encoded_area = 0;  // and of one that is encoded to latents
  // Tokens between each picture and the next.
  std::vector<std::vector<std::int64_t>> between_pictures;

  // Throws Error(kBadPack) where there is no such part.
  [[nodiscard]] const std::string& part(const std::string& name) const;
};

// What a family keeps of a prompt, of a reference image, of an image that is being made: what is
// in them is the family's own business.
class Conditioning {
 public:
  virtual ~Conditioning() = default;
};
using ConditioningRef = std::shared_ptr<const Conditioning>;

class Reference {
 public:
  virtual ~Reference() = default;
};
using ReferenceRef = std::shared_ptr<const Reference>;

class GeneratorJob {
 public:
  virtual ~GeneratorJob() = default;
  int steps = 0;
  int next_step = 0;  // from 0; `steps`: finished
  [[nodiscard]] bool finished() const noexcept { return next_step >= steps; }
};

// Everything that determines an image.
struct ImageTask {
  ConditioningRef text;
  ConditioningRef negative;  // the other half of a guidance pair; null: no guidance
  float guidance = 1.0F;
  std::vector<ReferenceRef> references;  // in order; none: text-to-image
  std::uint64_t seed = 0;
  int width = 0;   // 0: that of the first reference, else the default
  int height = 0;  // likewise
  int steps = 0;   // 0: the default
};

// Not thread-safe, except `terminate`: one object a lane. Equal tasks give equal bits, whatever the
// batches, where the graphs are batch-invariant.
class Generator {
 public:
  Generator() = default;
  virtual ~Generator() = default;
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  // Whether conditioning depends on the source images: it is then kept for one call only.
  [[nodiscard]] virtual bool text_reads_images() const noexcept { return false; }
  // What stands for the source of a picture of this size (0: the default) that starts from none;
  // null: the family needs no source.
  [[nodiscard]] virtual std::optional<PixelBuffer> blank(int /*width*/, int /*height*/) const {
    return std::nullopt;
  }
  // `ids` and `mask`: max_sequence_length values each. `sources` are for families whose text
  // encoder looks at them.
  [[nodiscard]] virtual ConditioningRef encode_text(std::span<const std::int64_t> ids,
                                                    std::span<const std::int64_t> mask,
                                                    std::span<const ImageView> sources) = 0;
  // Throws Error(kBadRequest) for an image that the family cannot take.
  [[nodiscard]] virtual ReferenceRef encode_image(const ImageView& image) = 0;
  // Throws Error(kBadRequest) for a size, a number of steps or references, or a guidance that the
  // family does not have.
  [[nodiscard]] virtual std::unique_ptr<GeneratorJob> begin(const ImageTask& task) = 0;
  // Whether two jobs may share a batch.
  [[nodiscard]] virtual bool same_shape(const GeneratorJob& a, const GeneratorJob& b) const = 0;
  // One denoising step for each job; jobs may be at different points of their schedules. On an
  // error no job advances. Between two steps a job may simply be dropped.
  virtual void step(std::span<GeneratorJob* const> jobs) = 0;
  // Throws Error(kInternal) for a job that is not finished, Error(kBackendFailed) when the image
  // is not finite.
  [[nodiscard]] virtual PixelBuffer decode(const GeneratorJob& job) = 0;
  // From another thread: ends a run in progress, which throws Error(kCancelled).
  virtual void terminate() noexcept = 0;
};

// By the family's name. Throws Error(kBadPack) for one that is not known, and where the graphs or
// the configuration break the family's contract.
[[nodiscard]] std::unique_ptr<Generator> make_generator(const GeneratorConfig& config,
                                                        const SessionOptions& options);
// One more family, beside the built-in ones. Thread-safe.
using MakeGenerator = std::function<std::unique_ptr<Generator>(const GeneratorConfig& config,
                                                               const SessionOptions& options)>;
void add_generator_family(const std::string& name, MakeGenerator make);

// Standard normal noise from a counter (seed, index): Box-Muller over splitmix64 uniforms, in
// double. Values 2p and 2p + 1 are float(r cos a) and float(r sin a) with
//   u(k) = ((mix64(mix64(seed) + k * 0x9e3779b97f4a7c15) >> 11) + 0.5) * 2^-53   (core/key.h)
//   r = sqrt(-2 ln u(2p)),  a = 2 pi u(2p + 1).
// The parity tests restate this in Python.
void gaussian_noise(std::uint64_t seed, std::span<float> out) noexcept;

}  // namespace irt
