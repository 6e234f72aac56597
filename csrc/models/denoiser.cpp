#include "models/denoiser.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>

#include "core/error.h"
#include "models/denoise_plan.h"
#include "tensor/contract.h"

namespace irt {
namespace {

constexpr std::size_t kMaxPlans = 16;  // (shape, batch) pairs whose buffers are kept
constexpr std::int64_t kMaxReferenceArea = 1024 * 1024;

std::string to_text(int width, int height) {
  return std::to_string(width) + "x" + std::to_string(height);
}

void check_config(const GeneratorConfig& config) {
  if (config.latent_channels < 1 || config.text_dim < 1 || config.max_sequence_length < 1 ||
      config.token_pixels < 1 || config.max_batch < 1 || config.default_steps < 1 ||
      config.default_width < 0 || config.default_height < 0) {
    throw Error(ErrorCode::kBadPack,
                "[Denoiser] " + config.transformer +
                    ": the generator's sizes in pack.json must be positive: export the pack again");
  }
}

std::size_t count(std::int64_t a, std::int64_t b, std::int64_t c) noexcept {
  return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c);
}

}  // namespace

struct Denoiser::Impl {
  GeneratorConfig config;
  Session text_encoder;
  Session transformer;
  Session vae_encoder;
  Session vae_decoder;
  Run text_run;
  Run encode_run;
  Run decode_run;
  std::vector<std::unique_ptr<DenoisePlan>> plans;  // most recently used first
  std::vector<std::vector<float>> staged;           // new latents until every group has succeeded
  std::vector<DenoiseJob*> order;
  std::vector<float> planar;

  std::mutex mutex;
  Run* active = nullptr;

  Impl(const GeneratorConfig& generator, const SessionOptions& options)
      : config(generator),
        text_encoder(config.text_encoder, options),
        transformer(config.transformer, options),
        vae_encoder(config.vae_encoder, options),
        vae_decoder(config.vae_decoder, options),
        text_run(text_encoder),
        encode_run(vae_encoder),
        decode_run(vae_decoder) {
    check_graphs();
  }

  void check_graphs() const;

  void execute(Run& run) {
    {
      const std::lock_guard lock(mutex);
      active = &run;
    }
    struct Clear {
      Impl& impl;
      ~Clear() {
        const std::lock_guard lock(impl.mutex);
        impl.active = nullptr;
      }
    };
    const Clear clear{*this};
    run.run();
  }

  DenoisePlan& plan_for(const DenoiseShape& shape, int batch) {
    const auto found =
        std::ranges::find_if(plans, [&](const auto& plan) { return plan->fits(shape, batch); });
    if (found != plans.end()) {
      std::rotate(plans.begin(), found, found + 1);
    } else {
      if (plans.size() == kMaxPlans) plans.pop_back();
      plans.insert(plans.begin(), std::make_unique<DenoisePlan>(transformer, config, shape, batch));
    }
    return *plans.front();
  }
};

void Denoiser::Impl::check_graphs() const {
  const std::int64_t length = config.max_sequence_length;
  const std::int64_t dim = config.text_dim;
  const std::int64_t channels = config.latent_channels;
  const ElementType real = ElementType::kFloat32;
  const ElementType integer = ElementType::kInt64;
  require_input(text_encoder, config.text_encoder, "input_ids", integer, {1, length});
  require_input(text_encoder, config.text_encoder, "attention_mask", integer, {1, length});
  require_output(text_encoder, config.text_encoder, "prompt_embeds", real, {1, length, dim});
  const std::string& file = config.transformer;
  require_input(transformer, file, "hidden_states", real, {kAny, kAny, channels});
  require_input(transformer, file, "encoder_hidden_states", real, {kAny, length, dim});
  require_input(transformer, file, "timestep", real, {kAny});
  require_input(transformer, file, "img_ids", integer, {kAny, 4});
  require_input(transformer, file, "txt_ids", integer, {length, 4});
  require_output(transformer, file, "velocity", real, {kAny, kAny, channels});
  require_input(vae_encoder, config.vae_encoder, "image", real, {1, 3, kAny, kAny});
  require_output(vae_encoder, config.vae_encoder, "latents", real, {1, kAny, kAny, channels});
  require_input(vae_decoder, config.vae_decoder, "latents", real, {1, kAny, kAny, channels});
  require_output(vae_decoder, config.vae_decoder, "image", real, {1, 3, kAny, kAny});
}

Denoiser::Denoiser(const GeneratorConfig& config, const SessionOptions& options) {
  check_config(config);
  impl_ = std::make_unique<Impl>(config, options);
}

Denoiser::~Denoiser() = default;

TextEmbedding Denoiser::encode_text(std::span<const std::int64_t> ids,
                                    std::span<const std::int64_t> mask) {
  Impl& self = *impl_;
  const auto length = static_cast<std::size_t>(self.config.max_sequence_length);
  if (ids.size() != length || mask.size() != length) {
    throw Error(ErrorCode::kBadRequest, "[Denoiser.encode_text] " + std::to_string(ids.size()) +
                                            " ids and " + std::to_string(mask.size()) +
                                            " mask values: pad both to " + std::to_string(length));
  }
  std::vector<std::int64_t> id_values(ids.begin(), ids.end());
  std::vector<std::int64_t> mask_values(mask.begin(), mask.end());
  TextEmbedding text;
  text.data.resize(length * static_cast<std::size_t>(self.config.text_dim));
  const std::array<std::int64_t, 2> shape{1, self.config.max_sequence_length};
  const std::array<std::int64_t, 3> out{1, self.config.max_sequence_length, self.config.text_dim};
  self.text_run.clear_bindings();
  self.text_run.bind_input("input_ids", Value::wrap(std::span(id_values), shape));
  self.text_run.bind_input("attention_mask", Value::wrap(std::span(mask_values), shape));
  self.text_run.bind_output("prompt_embeds", Value::wrap(std::span(text.data), out));
  self.execute(self.text_run);
  return text;
}

Latents Denoiser::encode_image(const ImageView& image) {
  Impl& self = *impl_;
  const int token = self.config.token_pixels;
  PixelBuffer scaled;
  ImageView view = image;
  const std::int64_t area = std::int64_t{image.width} * image.height;
  if (image.width > 0 && image.height > 0 && area > kMaxReferenceArea) {
    const double scale =
        std::sqrt(static_cast<double>(kMaxReferenceArea) / static_cast<double>(area));
    scaled = resize(image, std::max(static_cast<int>(image.width * scale), 1),
                    std::max(static_cast<int>(image.height * scale), 1), Filter::kLanczos);
    view = scaled.view();
  }
  if (view.width < token || view.height < token) {
    throw Error(ErrorCode::kBadRequest,
                "[Denoiser.encode_image] a reference image of " +
                    to_text(image.width, image.height) + " is too small: both sides need " +
                    std::to_string(token) + " pixels or more after scaling to 1024x1024 of area");
  }
  Latents latents{view.height / token, view.width / token, {}};
  const int width = latents.columns * token;
  const int height = latents.rows * token;
  PixelBuffer cropped;
  if (width != view.width || height != view.height) {
    cropped = crop_center(view, width, height);
    view = cropped.view();
  }
  self.planar.resize(count(3, height, width));
  to_planar(view, self.planar);
  latents.data.resize(count(latents.rows, latents.columns, self.config.latent_channels));
  const std::array<std::int64_t, 4> in{1, 3, height, width};
  const std::array<std::int64_t, 4> out{1, latents.rows, latents.columns,
                                        self.config.latent_channels};
  self.encode_run.clear_bindings();
  self.encode_run.bind_input("image", Value::wrap(std::span(self.planar), in));
  self.encode_run.bind_output("latents", Value::wrap(std::span(latents.data), out));
  self.execute(self.encode_run);
  return latents;
}

DenoiseJob Denoiser::begin(std::shared_ptr<const TextEmbedding> text,
                           std::shared_ptr<const Latents> reference, std::uint64_t seed, int width,
                           int height, int steps) {
  const GeneratorConfig& config = impl_->config;
  const int token = config.token_pixels;
  const auto text_values = count(config.max_sequence_length, config.text_dim, 1);
  if (text == nullptr || text->data.size() != text_values) {
    throw Error(ErrorCode::kBadRequest,
                "[Denoiser.begin] the text embedding is not one of this model: call encode_text");
  }
  if (reference != nullptr && (reference->rows < 1 || reference->columns < 1 ||
                               reference->data.size() != count(reference->rows, reference->columns,
                                                               config.latent_channels))) {
    throw Error(ErrorCode::kBadRequest,
                "[Denoiser.begin] the reference latents are not of this model: call encode_image");
  }
  if (width == 0) width = reference ? reference->columns * token : config.default_width;
  if (height == 0) height = reference ? reference->rows * token : config.default_height;
  if (width < token || height < token || width % token != 0 || height % token != 0) {
    throw Error(ErrorCode::kBadRequest, "[Denoiser.begin] an image of " + to_text(width, height) +
                                            " cannot be made: both sides must be multiples of " +
                                            std::to_string(token));
  }
  DenoiseJob job;
  job.text = std::move(text);
  job.reference = std::move(reference);
  job.rows = height / token;
  job.columns = width / token;
  job.sigmas = flow_sigmas(steps == 0 ? config.default_steps : steps, job.rows * job.columns);
  job.latents.resize(count(job.rows, job.columns, config.latent_channels));
  gaussian_noise(seed, job.latents);
  return job;
}

void Denoiser::step(std::span<DenoiseJob* const> jobs) {
  Impl& self = *impl_;
  for (const DenoiseJob* job : jobs) {
    if (job->finished()) {
      throw Error(ErrorCode::kInternal, "[Denoiser.step] the job is finished: decode it");
    }
  }
  self.order.assign(jobs.begin(), jobs.end());
  if (self.staged.size() < jobs.size()) self.staged.resize(jobs.size());
  std::size_t done = 0;
  while (done < self.order.size()) {
    // Gather the jobs of one shape behind `done`, in their order.
    const DenoiseShape shape = shape_of(*self.order[done]);
    std::size_t end = done;
    for (std::size_t i = done;
         i < self.order.size() && end - done < static_cast<std::size_t>(self.config.max_batch);
         ++i) {
      if (shape_of(*self.order[i]) == shape) std::swap(self.order[end++], self.order[i]);
    }
    const std::span<DenoiseJob* const> group(self.order.data() + done, end - done);
    DenoisePlan& plan = self.plan_for(shape, static_cast<int>(group.size()));
    plan.load(group);
    self.execute(plan.run());
    for (std::size_t row = 0; row < group.size(); ++row) {
      plan.advance(row, *group[row], self.staged[done + row]);
    }
    done = end;
  }
  for (std::size_t i = 0; i < self.order.size(); ++i) {
    self.order[i]->latents.swap(self.staged[i]);
    ++self.order[i]->next_step;
  }
}

bool Denoiser::same_shape(const DenoiseJob& a, const DenoiseJob& b) noexcept {
  return shape_of(a) == shape_of(b);
}

PixelBuffer Denoiser::decode(const DenoiseJob& job) {
  Impl& self = *impl_;
  if (!job.finished()) {
    throw Error(ErrorCode::kInternal, "[Denoiser.decode] the job is at step " +
                                          std::to_string(job.next_step) + " of " +
                                          std::to_string(job.sigmas.size() - 1) + ": step it on");
  }
  PixelBuffer image{
      job.columns * self.config.token_pixels, job.rows * self.config.token_pixels, {}};
  // The graph reads its input only; ONNX Runtime's tensors know no const.
  const std::span<float> latents(const_cast<float*>(job.latents.data()), job.latents.size());
  self.planar.resize(count(3, image.height, image.width));
  const std::array<std::int64_t, 4> in{1, job.rows, job.columns, self.config.latent_channels};
  const std::array<std::int64_t, 4> out{1, 3, image.height, image.width};
  self.decode_run.clear_bindings();
  self.decode_run.bind_input("latents", Value::wrap(latents, in));
  self.decode_run.bind_output("image", Value::wrap(std::span(self.planar), out));
  self.execute(self.decode_run);
  if (!std::ranges::all_of(self.planar, [](float value) { return std::isfinite(value); })) {
    throw Error(ErrorCode::kBackendFailed,
                "[Denoiser.decode] " + self.config.vae_decoder +
                    ": the image is not finite: check the pack's parity report");
  }
  image.data.resize(image.view().bytes());
  from_planar(self.planar, image.width, image.height, image.data.data());
  return image;
}

void Denoiser::terminate() noexcept {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->active != nullptr) impl_->active->terminate();
}

}  // namespace irt
