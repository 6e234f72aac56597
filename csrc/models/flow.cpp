#include "models/flow.h"

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

// calculate_shift of diffusers' Qwen-Image pipelines.
[[nodiscard]] double on_line(std::span<const double> line, int image_tokens) noexcept {
  const double slope = (line[3] - line[1]) / (line[2] - line[0]);
  return image_tokens * slope + (line[1] - slope * line[0]);
}

}  // namespace

std::vector<float> flow_sigmas(int steps, int image_tokens, double shift, double terminal,
                               std::span<const double> line) {
  if (steps < 1 || steps > kTrainedSteps || image_tokens < 1) {
    throw Error(ErrorCode::kBadRequest, "[flow_sigmas] " + std::to_string(steps) +
                                            " denoising steps for " + std::to_string(image_tokens) +
                                            " image tokens: pass 1 to " +
                                            std::to_string(kTrainedSteps) + " steps");
  }
  // numpy's linspace in double; everything after it in float, as the scheduler does.
  const double last = 1.0 / steps;
  const double stride = steps > 1 ? (last - 1.0) / (steps - 1) : 0.0;
  const auto fixed = static_cast<float>(shift);
  const auto less = static_cast<float>(shift - 1.0);
  const double mu = line.empty() ? empirical_mu(image_tokens, steps) : on_line(line, image_tokens);
  const auto odds_shift = static_cast<float>(std::exp(mu));
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

using ReferencePtr = std::shared_ptr<const FlowReference>;

// ---- one transformer call: one shape, one batch size ----------------------------------------

[[nodiscard]] FlowSides sides_of(const FlowJob& job) {
  FlowSides sides{{job.rows, job.columns}};
  for (const ReferencePtr& reference : job.references) {
    sides.emplace_back(reference->rows, reference->columns);
  }
  return sides;
}

// Whether two jobs may be rows of one run.
[[nodiscard]] bool alike(const FlowJob& a, const FlowJob& b) {
  const auto equal = [](const auto& one, const auto& other) {
    return one == nullptr ? other == nullptr
                          : other != nullptr && one->data.shape() == other->data.shape();
  };
  return sides_of(a) == sides_of(b) && equal(a.text, b.text) && equal(a.negative, b.negative);
}

}  // namespace

// Buffers and bindings, made once and reused: a step in the steady state allocates nothing and
// copies only what changed.
class FlowPlan {
 public:
  // `negative`: of the other half of guidance pairs.
  FlowPlan(const Session& transformer, const GeneratorConfig& config, const FlowRules& rules,
           const FlowGenerator& family, FlowSides sides, std::int64_t text_tokens, int batch,
           bool negative)
      : sides_(std::move(sides)),
        text_tokens_(text_tokens),
        batch_(batch),
        negative_(negative),
        rescale_(config.rescale_guidance),
        resident_(static_cast<std::size_t>(batch)),
        run_(transformer) {
    const FlowGenerator::Places places = family.places(sides_, text_tokens);
    const ElementType real = ElementType::kFloat32;
    const DeviceRef& device = transformer.device();
    tokens_ = static_cast<std::int64_t>(places.image.size()) / rules.axes;
    noise_ = std::int64_t{sides_.front().first} * sides_.front().second;
    hidden_ = Tensor(real, {batch, tokens_, config.latent_channels}, device);
    text_ = Tensor(real, {batch, text_tokens, config.text_dim}, device);
    timestep_ = Tensor(real, {batch});
    velocity_ = Tensor(real, hidden_.shape(), device);
    run_.bind_input("hidden_states", hidden_);
    run_.bind_input("encoder_hidden_states", text_);
    run_.bind_input("timestep", timestep_);
    run_.bind_input("img_ids", Tensor::of(places.image, {tokens_, rules.axes}).on(device));
    run_.bind_input("txt_ids", Tensor::of(places.text, {text_tokens, rules.axes}).on(device));
    run_.bind_output("velocity", velocity_);
  }

  [[nodiscard]] bool fits(const FlowSides& sides, std::int64_t text_tokens, int batch,
                          bool negative) const noexcept {
    return sides == sides_ && text_tokens == text_tokens_ && batch == batch_ &&
           negative == negative_;
  }
  // Jobs of this plan's shape, one a row.
  void load(std::span<FlowJob* const> jobs) {
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      const FlowJob& job = *jobs[i];
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
  void advance(std::size_t row, const FlowJob& job, const FlowPlan* negative, Tensor& out) const {
    const auto step = static_cast<std::size_t>(job.next_step);
    const float delta = job.sigmas[step + 1] - job.sigmas[step];
    const Shape& shape = job.latents.shape();
    if (out.shape() != shape) out = Tensor(job.latents.type(), shape, job.latents.device());
    Tensor towards = velocity_of(row, shape);
    if (negative != nullptr) {  // away + guidance * (towards - away)
      const Tensor away = negative->velocity_of(row, shape);
      out.add_scaled(towards, -1.0F, away);
      out.add_scaled(away, job.guidance, out);
      if (rescale_) out.rescale(towards);
      towards = out;
    }
    out.add_scaled(job.latents, delta, towards);
  }

 private:
  // What lies in a row of the buffers already; holding it keeps the identity from being reused.
  struct Resident {
    std::shared_ptr<const FlowText> text;
    std::vector<ReferencePtr> references;
  };

  // Of the noise of a row, in the shape of its latents.
  [[nodiscard]] Tensor velocity_of(std::size_t row, const Shape& shape) const {
    return velocity_.rows(static_cast<std::int64_t>(row), 1).view(0, shape);
  }

  FlowSides sides_;
  std::int64_t text_tokens_;
  int batch_;
  bool negative_;
  bool rescale_;             // guided tokens, to the length that they have without guidance
  std::int64_t tokens_ = 0;  // of a row: noise, then references
  std::int64_t noise_ = 0;   // of these, noise
  // Where the session works: the parts of a row that change are copied into it.
  Tensor hidden_;  // [batch, tokens, channels]
  Tensor text_;    // [batch, text_tokens, text_dim]
  Tensor timestep_;
  Tensor velocity_;  // as hidden_
  std::vector<Resident> resident_;
  Run run_;
};

// ---- the families -----------------------------------------------------------------------------

namespace {

[[nodiscard]] const GeneratorConfig& checked(const GeneratorConfig& config) {
  if (config.latent_channels < 1 || config.text_dim < 1 || config.max_sequence_length < 1 ||
      config.token_pixels < 1 || config.max_batch < 1 || config.default_steps < 1 ||
      config.default_width < 0 || config.default_height < 0) {
    throw Error(ErrorCode::kBadPack,
                "[" + config.family + "] " + config.part("transformer") +
                    ": the generator's sizes in pack.json must be positive: export the pack again");
  }
  return config;
}

}  // namespace

FlowGenerator::FlowGenerator(const GeneratorConfig& config, const SessionOptions& options,
                             const FlowRules& rules)
    : config_(checked(config)),
      rules_(rules),
      text_encoder_(config.part("text_encoder"), options),
      transformer_(config.part("transformer"), options),
      vae_encoder_(config.part("vae_encoder"), options),
      vae_decoder_(config.part("vae_decoder"), options),
      encode_run_(vae_encoder_),
      decode_run_(vae_decoder_) {
  check_graphs();
  check_token_size();
}

FlowGenerator::~FlowGenerator() = default;

Error FlowGenerator::refused(const std::string& text) const {
  return Error(ErrorCode::kBadRequest, "[" + config_.family + "] " + text);
}

void FlowGenerator::check_text(std::span<const std::int64_t> ids,
                               std::span<const std::int64_t> mask) const {
  const int length = config_.max_sequence_length;
  if (ids.size() != static_cast<std::size_t>(length) || mask.size() != ids.size()) {
    throw refused(std::to_string(ids.size()) + " ids and " + std::to_string(mask.size()) +
                  " mask values: pad both to " + std::to_string(length));
  }
}

void FlowGenerator::execute(Run& run) {
  const StopSwitch::Work work(stop_);
  stop_.run(run);
}

ReferenceRef FlowGenerator::encode_image(const ImageView& image) {
  const int token = config_.token_pixels;
  PixelBuffer memory;
  const ImageView view = fitted(image, memory);
  auto reference = std::make_shared<FlowReference>();
  reference->rows = view.height / token;
  reference->columns = view.width / token;
  planar_.resize(view.bytes());
  to_planar(view, planar_);
  reference->data = Tensor(ElementType::kFloat32,
                           {1, reference->rows, reference->columns, config_.latent_channels},
                           transformer_.device());
  encode_run_.bind_input("image",
                         Tensor::over(std::span(planar_), {1, 3, view.height, view.width}));
  encode_run_.bind_output("latents", reference->data);
  execute(encode_run_);
  encode_run_.clear_bindings();
  return reference;
}

std::unique_ptr<GeneratorJob> FlowGenerator::begin(const ImageTask& task) {
  const int token = config_.token_pixels;
  auto job = std::make_unique<FlowJob>();
  job->text = own(task.text);
  if ((task.negative != nullptr) != (task.guidance != 1.0F)) {
    throw refused("guidance and a negative prompt go together: pass both or none");
  }
  if (task.negative != nullptr) job->negative = own(task.negative);
  job->guidance = task.guidance;
  for (const ReferenceRef& given : task.references) {
    auto reference = std::dynamic_pointer_cast<const FlowReference>(given);
    if (reference == nullptr || reference->rows < 1 || reference->columns < 1 ||
        reference->data.shape() !=
            Shape{1, reference->rows, reference->columns, config_.latent_channels}) {
      throw refused("the reference latents are not of this model: call encode_image");
    }
    job->references.push_back(std::move(reference));
  }
  const ReferencePtr first = job->references.empty()       ? nullptr
                             : rules_.last_reference_sizes ? job->references.back()
                                                           : job->references.front();
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
  job->sigmas = flow_sigmas(job->steps, job->rows * job->columns, config_.shift,
                            config_.shift_terminal, config_.shift_line);
  const Tensor noise(ElementType::kFloat32, {job->rows * job->columns, config_.latent_channels});
  gaussian_noise(task.seed, noise.as<float>());
  job->latents = noise.on(transformer_.device());
  return job;
}

bool FlowGenerator::same_shape(const GeneratorJob& a, const GeneratorJob& b) const {
  return alike(dynamic_cast<const FlowJob&>(a), dynamic_cast<const FlowJob&>(b));
}

void FlowGenerator::step(std::span<GeneratorJob* const> jobs) {
  order_.clear();
  for (GeneratorJob* job : jobs) {
    if (job->finished()) {
      throw Error(ErrorCode::kInternal, "[" + config_.family + "] the job is finished: decode it");
    }
    order_.push_back(&dynamic_cast<FlowJob&>(*job));
  }
  if (staged_.size() < jobs.size()) staged_.resize(jobs.size());
  const StopSwitch::Work work(stop_);
  std::size_t done = 0;
  while (done < order_.size()) {
    // Gather the jobs of one shape behind `done`, in their order.
    const FlowJob& first = *order_[done];
    std::size_t end = done;
    for (std::size_t i = done;
         i < order_.size() && end - done < static_cast<std::size_t>(config_.max_batch); ++i) {
      if (alike(*order_[i], first)) std::swap(order_[end++], order_[i]);
    }
    const std::span<FlowJob* const> group(order_.data() + done, end - done);
    const FlowPlan& plan = run(group, false);
    const FlowPlan* const negative = first.negative == nullptr ? nullptr : &run(group, true);
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

PixelBuffer FlowGenerator::decode(const GeneratorJob& given) {
  const auto& job = dynamic_cast<const FlowJob&>(given);
  if (!job.finished()) {
    throw Error(ErrorCode::kInternal, "[" + config_.family + "] the job is at step " +
                                          std::to_string(job.next_step) + " of " +
                                          std::to_string(job.steps) + ": step it on");
  }
  PixelBuffer image{job.columns * config_.token_pixels, job.rows * config_.token_pixels, {}};
  planar_.resize(image.view().bytes());
  decode_run_.bind_input("latents",
                         job.latents.view(0, {1, job.rows, job.columns, config_.latent_channels}));
  decode_run_.bind_output("image",
                          Tensor::over(std::span(planar_), {1, 3, image.height, image.width}));
  execute(decode_run_);
  decode_run_.clear_bindings();
  if (!all_finite(planar_)) {
    throw Error(ErrorCode::kBackendFailed,
                "[" + config_.family + "] " + culprit(job).path() +
                    ": what it made is not finite: check the pack's parity report");
  }
  image.data.resize(image.view().bytes());
  from_planar(planar_, image.width, image.height, image.data.data());
  return image;
}

void FlowGenerator::check_graphs() const {
  const std::int64_t length = rules_.text_tokens;
  const std::int64_t dim = config_.text_dim;
  const std::int64_t channels = config_.latent_channels;
  const ElementType real = ElementType::kFloat32;
  const ElementType integer = ElementType::kInt64;
  text_encoder_.require_output("prompt_embeds", real, {1, length, dim});
  transformer_.require_input("hidden_states", real, {kAny, kAny, channels});
  transformer_.require_input("encoder_hidden_states", real, {kAny, length, dim});
  transformer_.require_input("timestep", real, {kAny});
  transformer_.require_input("img_ids", integer, {kAny, rules_.axes});
  transformer_.require_input("txt_ids", integer, {length, rules_.axes});
  transformer_.require_output("velocity", real, {kAny, kAny, channels});
  vae_encoder_.require_input("image", real, {1, 3, kAny, kAny});
  vae_encoder_.require_output("latents", real, {1, kAny, kAny, channels});
  vae_decoder_.require_input("latents", real, {1, kAny, kAny, channels});
  vae_decoder_.require_output("image", real, {1, 3, kAny, kAny});
}

void FlowGenerator::check_token_size() {
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
    throw Error(ErrorCode::kBadPack, "[" + config_.family + "] token_pixels " +
                                         std::to_string(side) +
                                         " of pack.json does not fit its graph: " + error.what());
  }
  decode_run_.clear_bindings();
}

const Session& FlowGenerator::culprit(const FlowJob& job) const {
  const auto bad = [](const Tensor& tensor) { return !all_finite(tensor.on(host()).as<float>()); };
  if (bad(job.text->data) || (job.negative != nullptr && bad(job.negative->data))) {
    return text_encoder_;
  }
  for (const ReferencePtr& reference : job.references) {
    if (bad(reference->data)) return vae_encoder_;
  }
  return bad(job.latents) ? transformer_ : vae_decoder_;
}

std::shared_ptr<const FlowText> FlowGenerator::own(const ConditioningRef& given) const {
  auto text = std::dynamic_pointer_cast<const FlowText>(given);
  const std::int64_t tokens =
      text != nullptr && text->data.shape().size() == 3 ? text->data.shape()[1] : 0;
  if (tokens < 1 || (rules_.text_tokens != kAny && tokens != rules_.text_tokens) ||
      text->data.shape() != Shape{1, tokens, config_.text_dim}) {
    throw refused("the text embedding is not one of this model: call encode_text");
  }
  return text;
}

const FlowPlan& FlowGenerator::run(std::span<FlowJob* const> jobs, bool negative) {
  const FlowJob& first = *jobs.front();
  const FlowSides sides = sides_of(first);
  const std::int64_t tokens = (negative ? first.negative : first.text)->data.shape()[1];
  const auto batch = static_cast<int>(jobs.size());
  const auto found = std::ranges::find_if(
      plans_, [&](const auto& plan) { return plan->fits(sides, tokens, batch, negative); });
  if (found != plans_.end()) {
    std::rotate(plans_.begin(), found, found + 1);
  } else {
    if (plans_.size() == kMaxPlans) plans_.pop_back();
    plans_.insert(plans_.begin(), std::make_unique<FlowPlan>(transformer_, config_, rules_, *this,
                                                             sides, tokens, batch, negative));
  }
  FlowPlan& plan = *plans_.front();
  plan.load(jobs);
  stop_.run(plan.run());
  return plan;
}

}  // namespace irt
