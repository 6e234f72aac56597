#include "models/flux2.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "core/error.h"
#include "models/sampler.h"

namespace irt {
namespace {

constexpr int kTrainedSteps = 1000;    // the time steps that the scheduler was trained with
constexpr std::size_t kMaxPlans = 16;  // (shape, batch) pairs whose buffers are kept
constexpr std::int64_t kMaxReferenceArea = 1024 * 1024;

[[nodiscard]] Error refused(const std::string& text) {
  return Error(ErrorCode::kBadRequest, "[flux2] " + text);
}

[[nodiscard]] std::string to_text(int width, int height) {
  return std::to_string(width) + "x" + std::to_string(height);
}

// compute_empirical_mu of diffusers' FLUX.2 pipelines.
[[nodiscard]] double empirical_mu(int image_tokens, int steps) noexcept {
  constexpr double a1 = 8.73809524e-05;
  constexpr double b1 = 1.89833333;
  constexpr double a2 = 0.00016927;
  constexpr double b2 = 0.45666666;
  const double tokens = image_tokens;
  const double at_200 = a2 * tokens + b2;
  if (image_tokens > 4300) return at_200;
  const double at_10 = a1 * tokens + b1;
  const double slope = (at_200 - at_10) / 190.0;
  const double offset = at_200 - 200.0 * slope;
  return slope * steps + offset;
}

}  // namespace

std::vector<float> flow_sigmas(int steps, int image_tokens, double shift, double terminal) {
  if (steps < 1 || steps > kTrainedSteps || image_tokens < 1) {
    throw refused(std::to_string(steps) + " denoising steps for " + std::to_string(image_tokens) +
                  " image tokens: pass 1 to " + std::to_string(kTrainedSteps) + " steps");
  }
  // numpy's linspace in double; everything after it in float, as the scheduler does.
  const double last = 1.0 / steps;
  const double stride = steps > 1 ? (last - 1.0) / (steps - 1) : 0.0;
  const auto fixed = static_cast<float>(shift);
  const auto less = static_cast<float>(shift - 1.0);
  const auto odds_shift = static_cast<float>(std::exp(empirical_mu(image_tokens, steps)));
  std::vector<float> sigmas;
  sigmas.reserve(static_cast<std::size_t>(steps) + 1);
  for (int i = 0; i < steps; ++i) {
    const double linear = i + 1 == steps ? last : i * stride + 1.0;
    const auto t = static_cast<float>(linear);
    const float odds = 1.0F / t - 1.0F;
    sigmas.push_back(shift > 0.0 ? fixed * t / (1.0F + less * t)
                                 : odds_shift / (odds_shift + odds));
  }
  if (terminal > 0.0 && steps > 1) {  // one step starts at 1: nothing can be stretched
    const float scale = (1.0F - sigmas.back()) / static_cast<float>(1.0 - terminal);
    for (float& sigma : sigmas) sigma = 1.0F - (1.0F - sigma) / scale;
  }
  sigmas.push_back(0.0F);
  return sigmas;
}

namespace {

using ReferencePtr = std::shared_ptr<const Flux2Reference>;

// ---- one transformer call: one shape, one batch size ----------------------------------------

// Sides of the image and of its references, in tokens.
using Sides = std::vector<std::pair<int, int>>;

[[nodiscard]] Sides sides_of(const Flux2Job& job) {
  Sides sides{{job.rows, job.columns}};
  for (const ReferencePtr& reference : job.references) {
    sides.emplace_back(reference->rows, reference->columns);
  }
  return sides;
}

// (time, row, column, text index) of every token of a grid.
void add_grid(std::vector<std::int64_t>& ids, int time, const std::pair<int, int>& sides) {
  for (int row = 0; row < sides.first; ++row) {
    for (int column = 0; column < sides.second; ++column) {
      ids.insert(ids.end(), {time, row, column, 0});
    }
  }
}

// Buffers and bindings, made once and reused: a step in the steady state allocates nothing and
// copies only what changed.
class Plan {
 public:
  // `negative`: of the other half of guidance pairs.
  Plan(const Session& transformer, const GeneratorConfig& config, Sides sides, int batch,
       bool negative)
      : sides_(std::move(sides)),
        batch_(batch),
        negative_(negative),
        resident_(static_cast<std::size_t>(batch)),
        run_(transformer) {
    std::vector<std::int64_t> image_ids;
    std::vector<std::int64_t> text_ids;
    for (std::size_t i = 0; i < sides_.size(); ++i) {
      // Reference number i (from 1) lies at time i * reference_time, as in diffusers.
      add_grid(image_ids, static_cast<int>(i) * config.reference_time, sides_[i]);
    }
    for (int i = 0; i < config.max_sequence_length; ++i) {
      text_ids.insert(text_ids.end(), {0, 0, 0, i});
    }
    const ElementType real = ElementType::kFloat32;
    const DeviceRef& device = transformer.device();
    tokens_ = static_cast<std::int64_t>(image_ids.size() / 4);
    noise_ = std::int64_t{sides_.front().first} * sides_.front().second;
    hidden_ = Tensor(real, {batch, tokens_, config.latent_channels}, device);
    text_ = Tensor(real, {batch, config.max_sequence_length, config.text_dim}, device);
    timestep_ = Tensor(real, {batch});
    velocity_ = Tensor(real, hidden_.shape(), device);
    run_.bind_input("hidden_states", hidden_);
    run_.bind_input("encoder_hidden_states", text_);
    run_.bind_input("timestep", timestep_);
    run_.bind_input("img_ids", Tensor::of(image_ids, {tokens_, 4}).on(device));
    run_.bind_input("txt_ids", Tensor::of(text_ids, {config.max_sequence_length, 4}).on(device));
    run_.bind_output("velocity", velocity_);
  }

  [[nodiscard]] bool fits(const Sides& sides, int batch, bool negative) const noexcept {
    return sides == sides_ && batch == batch_ && negative == negative_;
  }
  // Jobs of this plan's shape, one a row.
  void load(std::span<Flux2Job* const> jobs) {
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      const Flux2Job& job = *jobs[i];
      const auto row = static_cast<std::int64_t>(i);
      const Tensor hidden = hidden_.rows(row, 1).view(0, {tokens_, hidden_.shape().back()});
      hidden.rows(0, noise_).copy_from(job.latents);
      Resident& resident = resident_[i];
      if (resident.references != job.references) {
        std::int64_t at = noise_;
        for (const ReferencePtr& reference : job.references) {
          const std::int64_t tokens = std::int64_t{reference->rows} * reference->columns;
          hidden.rows(at, tokens).copy_from(reference->data);
          at += tokens;
        }
        resident.references = job.references;
      }
      const auto& text = negative_ ? job.negative : job.text;
      if (resident.text != text) {
        text_.rows(row, 1).copy_from(text->data);
        resident.text = text;
      }
      // The pipeline passes 1000 * sigma / 1000, rounded twice.
      const float scaled = job.sigmas[static_cast<std::size_t>(job.next_step)] * 1000.0F;
      timestep_.as<float>()[i] = scaled / 1000.0F;
    }
  }
  [[nodiscard]] Run& run() noexcept { return run_; }
  // After the run: the latents of row `row` one Euler step further. `negative`: the plan of the
  // other half of its guidance pair, run as well.
  void advance(std::size_t row, const Flux2Job& job, const Plan* negative, Tensor& out) const {
    const auto step = static_cast<std::size_t>(job.next_step);
    const float delta = job.sigmas[step + 1] - job.sigmas[step];
    const Shape& shape = job.latents.shape();
    if (out.shape() != shape) out = Tensor(job.latents.type(), shape, job.latents.device());
    Tensor towards = velocity_of(row, shape);
    if (negative != nullptr) {  // away + guidance * (towards - away)
      const Tensor away = negative->velocity_of(row, shape);
      out.add_scaled(towards, -1.0F, away);
      out.add_scaled(away, job.guidance, out);
      towards = out;
    }
    out.add_scaled(job.latents, delta, towards);
  }

 private:
  // What lies in a row of the buffers already; holding it keeps the identity from being reused.
  struct Resident {
    std::shared_ptr<const Flux2Text> text;
    std::vector<ReferencePtr> references;
  };

  // Of the noise of a row, in the shape of its latents.
  [[nodiscard]] Tensor velocity_of(std::size_t row, const Shape& shape) const {
    return velocity_.rows(static_cast<std::int64_t>(row), 1).view(0, shape);
  }

  Sides sides_;
  int batch_;
  bool negative_;
  std::int64_t tokens_ = 0;  // of a row: noise, then references
  std::int64_t noise_ = 0;   // of these, noise
  // Where the session works: the parts of a row that change are copied into it.
  Tensor hidden_;  // [batch, tokens, channels]
  Tensor text_;    // [batch, max_sequence_length, text_dim]
  Tensor timestep_;
  Tensor velocity_;  // as hidden_
  std::vector<Resident> resident_;
  Run run_;
};

// ---- the family -----------------------------------------------------------------------------

class Flux2 final : public Generator {
 public:
  Flux2(const GeneratorConfig& config, const SessionOptions& options)
      : config_(checked(config)),
        text_encoder_(config.part("text_encoder"), options),
        transformer_(config.part("transformer"), options),
        vae_encoder_(config.part("vae_encoder"), options),
        vae_decoder_(config.part("vae_decoder"), options),
        text_run_(text_encoder_),
        encode_run_(vae_encoder_),
        decode_run_(vae_decoder_) {
    check_graphs();
    check_token_size();
  }

  ConditioningRef encode_text(std::span<const std::int64_t> ids, std::span<const std::int64_t> mask,
                              std::span<const ImageView> /*sources*/) override {
    const std::int64_t length = config_.max_sequence_length;
    if (ids.size() != static_cast<std::size_t>(length) || mask.size() != ids.size()) {
      throw refused(std::to_string(ids.size()) + " ids and " + std::to_string(mask.size()) +
                    " mask values: pad both to " + std::to_string(length));
    }
    auto text = std::make_shared<Flux2Text>();
    text->data =
        Tensor(ElementType::kFloat32, {1, length, config_.text_dim}, transformer_.device());
    const std::vector<std::int64_t> id_values(ids.begin(), ids.end());
    const std::vector<std::int64_t> mask_values(mask.begin(), mask.end());
    text_run_.bind_input("input_ids", Tensor::of(id_values, {1, length}));
    text_run_.bind_input("attention_mask", Tensor::of(mask_values, {1, length}));
    text_run_.bind_output("prompt_embeds", text->data);
    execute(text_run_);
    text_run_.clear_bindings();
    return text;
  }

  ReferenceRef encode_image(const ImageView& image) override {
    const int token = config_.token_pixels;
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
      throw refused("a reference image of " + to_text(image.width, image.height) +
                    " is too small: both sides need " + std::to_string(token) +
                    " pixels or more after scaling to 1024x1024 of area");
    }
    auto reference = std::make_shared<Flux2Reference>();
    reference->rows = view.height / token;
    reference->columns = view.width / token;
    const int width = reference->columns * token;
    const int height = reference->rows * token;
    PixelBuffer cropped;
    if (width != view.width || height != view.height) {
      cropped = crop_center(view, width, height);
      view = cropped.view();
    }
    planar_.resize(view.bytes());
    to_planar(view, planar_);
    reference->data = Tensor(ElementType::kFloat32,
                             {1, reference->rows, reference->columns, config_.latent_channels},
                             transformer_.device());
    encode_run_.bind_input("image", Tensor::over(std::span(planar_), {1, 3, height, width}));
    encode_run_.bind_output("latents", reference->data);
    execute(encode_run_);
    encode_run_.clear_bindings();
    return reference;
  }

  std::unique_ptr<GeneratorJob> begin(const ImageTask& task) override {
    const int token = config_.token_pixels;
    auto job = std::make_unique<Flux2Job>();
    job->text = own(task.text);
    if ((task.negative != nullptr) != (task.guidance != 1.0F)) {
      throw refused("guidance and a negative prompt go together: pass both or none");
    }
    if (task.negative != nullptr) job->negative = own(task.negative);
    job->guidance = task.guidance;
    for (const ReferenceRef& given : task.references) {
      auto reference = std::dynamic_pointer_cast<const Flux2Reference>(given);
      if (reference == nullptr || reference->rows < 1 || reference->columns < 1 ||
          reference->data.shape() !=
              Shape{1, reference->rows, reference->columns, config_.latent_channels}) {
        throw refused("the reference latents are not of this model: call encode_image");
      }
      job->references.push_back(std::move(reference));
    }
    const Flux2Reference* first = job->references.empty() ? nullptr : job->references[0].get();
    int width = task.width;
    int height = task.height;
    if (width == 0) width = first != nullptr ? first->columns * token : config_.default_width;
    if (height == 0) height = first != nullptr ? first->rows * token : config_.default_height;
    if (width < token || height < token || width % token != 0 || height % token != 0) {
      throw refused("an image of " + to_text(width, height) +
                    " cannot be made: both sides must be multiples of " + std::to_string(token));
    }
    job->rows = height / token;
    job->columns = width / token;
    job->steps = task.steps == 0 ? config_.default_steps : task.steps;
    job->sigmas =
        flow_sigmas(job->steps, job->rows * job->columns, config_.shift, config_.shift_terminal);
    const Tensor noise(ElementType::kFloat32, {job->rows * job->columns, config_.latent_channels});
    gaussian_noise(task.seed, noise.as<float>());
    job->latents = noise.on(transformer_.device());
    return job;
  }

  bool same_shape(const GeneratorJob& a, const GeneratorJob& b) const override {
    return alike(dynamic_cast<const Flux2Job&>(a), dynamic_cast<const Flux2Job&>(b));
  }

  void step(std::span<GeneratorJob* const> jobs) override {
    order_.clear();
    for (GeneratorJob* job : jobs) {
      if (job->finished()) {
        throw Error(ErrorCode::kInternal, "[flux2] the job is finished: decode it");
      }
      order_.push_back(&dynamic_cast<Flux2Job&>(*job));
    }
    if (staged_.size() < jobs.size()) staged_.resize(jobs.size());
    const StopSwitch::Work work(stop_);
    std::size_t done = 0;
    while (done < order_.size()) {
      // Gather the jobs of one shape behind `done`, in their order.
      const Flux2Job& first = *order_[done];
      std::size_t end = done;
      for (std::size_t i = done;
           i < order_.size() && end - done < static_cast<std::size_t>(config_.max_batch); ++i) {
        if (alike(*order_[i], first)) std::swap(order_[end++], order_[i]);
      }
      const std::span<Flux2Job* const> group(order_.data() + done, end - done);
      const Plan& plan = run(group, false);
      const Plan* const negative = first.negative == nullptr ? nullptr : &run(group, true);
      for (std::size_t row = 0; row < group.size(); ++row) {
        plan.advance(row, *group[row], negative, staged_[done + row]);
      }
      done = end;
    }
    for (std::size_t i = 0; i < order_.size(); ++i) {
      std::swap(staged_[i], order_[i]->latents);
      ++order_[i]->next_step;
    }
  }

  PixelBuffer decode(const GeneratorJob& given) override {
    const auto& job = dynamic_cast<const Flux2Job&>(given);
    if (!job.finished()) {
      throw Error(ErrorCode::kInternal, "[flux2] the job is at step " +
                                            std::to_string(job.next_step) + " of " +
                                            std::to_string(job.steps) + ": step it on");
    }
    PixelBuffer image{job.columns * config_.token_pixels, job.rows * config_.token_pixels, {}};
    planar_.resize(image.view().bytes());
    decode_run_.bind_input(
        "latents", job.latents.view(0, {1, job.rows, job.columns, config_.latent_channels}));
    decode_run_.bind_output("image",
                            Tensor::over(std::span(planar_), {1, 3, image.height, image.width}));
    execute(decode_run_);
    decode_run_.clear_bindings();
    if (!all_finite(planar_)) {
      throw Error(ErrorCode::kBackendFailed,
                  "[flux2] " + culprit(job).path() +
                      ": what it made is not finite: check the pack's parity report");
    }
    image.data.resize(image.view().bytes());
    from_planar(planar_, image.width, image.height, image.data.data());
    return image;
  }

  void terminate() noexcept override { stop_.stop(); }

 private:
  [[nodiscard]] static const GeneratorConfig& checked(const GeneratorConfig& config) {
    if (config.latent_channels < 1 || config.text_dim < 1 || config.max_sequence_length < 1 ||
        config.token_pixels < 1 || config.max_batch < 1 || config.default_steps < 1 ||
        config.default_width < 0 || config.default_height < 0) {
      throw Error(
          ErrorCode::kBadPack,
          "[flux2] " + config.part("transformer") +
              ": the generator's sizes in pack.json must be positive: export the pack again");
    }
    return config;
  }

  void check_graphs() const {
    const std::int64_t length = config_.max_sequence_length;
    const std::int64_t dim = config_.text_dim;
    const std::int64_t channels = config_.latent_channels;
    const ElementType real = ElementType::kFloat32;
    const ElementType integer = ElementType::kInt64;
    text_encoder_.require_input("input_ids", integer, {1, length});
    text_encoder_.require_input("attention_mask", integer, {1, length});
    text_encoder_.require_output("prompt_embeds", real, {1, length, dim});
    transformer_.require_input("hidden_states", real, {kAny, kAny, channels});
    transformer_.require_input("encoder_hidden_states", real, {kAny, length, dim});
    transformer_.require_input("timestep", real, {kAny});
    transformer_.require_input("img_ids", integer, {kAny, 4});
    transformer_.require_input("txt_ids", integer, {length, 4});
    transformer_.require_output("velocity", real, {kAny, kAny, channels});
    vae_encoder_.require_input("image", real, {1, 3, kAny, kAny});
    vae_encoder_.require_output("latents", real, {1, kAny, kAny, channels});
    vae_decoder_.require_input("latents", real, {1, kAny, kAny, channels});
    vae_decoder_.require_output("image", real, {1, 3, kAny, kAny});
  }

  // The pack's word on how large a token is, against the graph; a wrong one would show in requests,
  // after work that grows with its square.
  void check_token_size() {
    const std::int64_t side = config_.token_pixels;
    const Tensor latents(ElementType::kFloat32, {1, 1, 1, config_.latent_channels});
    latents.zero();
    decode_run_.bind_input("latents", latents);
    decode_run_.bind_output("image", Tensor(ElementType::kFloat32, {1, 3, side, side}));
    try {
      execute(decode_run_);
    } catch (const OutOfMemory&) {
      throw;
    } catch (const Error& error) {
      throw Error(ErrorCode::kBadPack, "[flux2] token_pixels " + std::to_string(side) +
                                           " of pack.json does not fit its graph: " + error.what());
    }
    decode_run_.clear_bindings();
  }

  // The first graph on the way to an image that is not finite whose output is not.
  [[nodiscard]] const Session& culprit(const Flux2Job& job) const {
    const auto bad = [](const Tensor& tensor) {
      return !all_finite(tensor.on(host()).as<float>());
    };
    if (bad(job.text->data) || (job.negative != nullptr && bad(job.negative->data))) {
      return text_encoder_;
    }
    for (const ReferencePtr& reference : job.references) {
      if (bad(reference->data)) return vae_encoder_;
    }
    return bad(job.latents) ? transformer_ : vae_decoder_;
  }

  [[nodiscard]] std::shared_ptr<const Flux2Text> own(const ConditioningRef& given) const {
    auto text = std::dynamic_pointer_cast<const Flux2Text>(given);
    if (text == nullptr ||
        text->data.shape() != Shape{1, config_.max_sequence_length, config_.text_dim}) {
      throw refused("the text embedding is not one of this model: call encode_text");
    }
    return text;
  }

  // Whether two jobs may be rows of one run.
  [[nodiscard]] static bool alike(const Flux2Job& a, const Flux2Job& b) {
    return sides_of(a) == sides_of(b) && (a.negative == nullptr) == (b.negative == nullptr);
  }

  // Jobs of one shape through the transformer, with their prompts or with the negative ones.
  const Plan& run(std::span<Flux2Job* const> jobs, bool negative) {
    Plan& plan = plan_for(sides_of(*jobs.front()), static_cast<int>(jobs.size()), negative);
    plan.load(jobs);
    stop_.run(plan.run());
    return plan;
  }

  [[nodiscard]] Plan& plan_for(const Sides& sides, int batch, bool negative) {
    const auto found = std::ranges::find_if(
        plans_, [&](const auto& plan) { return plan->fits(sides, batch, negative); });
    if (found != plans_.end()) {
      std::rotate(plans_.begin(), found, found + 1);
    } else {
      if (plans_.size() == kMaxPlans) plans_.pop_back();
      plans_.insert(plans_.begin(),
                    std::make_unique<Plan>(transformer_, config_, sides, batch, negative));
    }
    return *plans_.front();
  }

  void execute(Run& run) {
    const StopSwitch::Work work(stop_);
    stop_.run(run);
  }

  GeneratorConfig config_;
  Session text_encoder_;
  Session transformer_;
  Session vae_encoder_;
  Session vae_decoder_;
  Run text_run_;
  Run encode_run_;
  Run decode_run_;
  StopSwitch stop_;
  std::vector<std::unique_ptr<Plan>> plans_;  // most recently used first
  std::vector<Tensor> staged_;                // new latents until every group has succeeded
  std::vector<Flux2Job*> order_;
  std::vector<float> planar_;
};

}  // namespace

std::unique_ptr<Generator> make_flux2(const GeneratorConfig& config,
                                      const SessionOptions& options) {
  return std::make_unique<Flux2>(config, options);
}

}  // namespace irt
