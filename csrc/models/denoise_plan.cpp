#include "models/denoise_plan.h"

#include <algorithm>
#include <array>

namespace irt {
namespace {

std::size_t product(std::int64_t a, std::int64_t b, std::int64_t c = 1) noexcept {
  return static_cast<std::size_t>(a) * static_cast<std::size_t>(b) * static_cast<std::size_t>(c);
}

// (time, row, column, text index) of every token of a grid.
void add_grid(std::vector<std::int64_t>& ids, int time, int rows, int columns) {
  for (int row = 0; row < rows; ++row) {
    for (int column = 0; column < columns; ++column) {
      ids.insert(ids.end(), {time, row, column, 0});
    }
  }
}

}  // namespace

DenoiseShape shape_of(const DenoiseJob& job) noexcept {
  DenoiseShape shape{job.rows, job.columns, 0, 0};
  if (job.reference) {
    shape.reference_rows = job.reference->rows;
    shape.reference_columns = job.reference->columns;
  }
  return shape;
}

DenoisePlan::DenoisePlan(const Session& transformer, const GeneratorConfig& config,
                         const DenoiseShape& shape, int batch)
    : shape_(shape),
      batch_(batch),
      row_values_(0),
      noise_values_(product(shape.rows, shape.columns, config.latent_channels)),
      text_values_(product(config.max_sequence_length, config.text_dim)),
      resident_(static_cast<std::size_t>(batch)),
      run_(transformer) {
  add_grid(image_ids_, 0, shape.rows, shape.columns);
  add_grid(image_ids_, config.reference_time, shape.reference_rows, shape.reference_columns);
  for (int i = 0; i < config.max_sequence_length; ++i) {
    text_ids_.insert(text_ids_.end(), {0, 0, 0, i});
  }
  const auto rows = static_cast<std::size_t>(batch);
  const auto tokens = static_cast<std::int64_t>(image_ids_.size() / 4);
  row_values_ = product(tokens, config.latent_channels);
  hidden_.resize(rows * row_values_);
  velocity_.resize(rows * row_values_);
  text_.resize(rows * text_values_);
  timestep_.resize(rows);

  const std::array<std::int64_t, 3> hidden{batch, tokens, config.latent_channels};
  const std::array<std::int64_t, 3> text{batch, config.max_sequence_length, config.text_dim};
  const std::array<std::int64_t, 1> time{batch};
  const std::array<std::int64_t, 2> image_ids{tokens, 4};
  const std::array<std::int64_t, 2> text_ids{config.max_sequence_length, 4};
  run_.bind_input("hidden_states", Value::wrap(std::span(hidden_), hidden));
  run_.bind_input("encoder_hidden_states", Value::wrap(std::span(text_), text));
  run_.bind_input("timestep", Value::wrap(std::span(timestep_), time));
  run_.bind_input("img_ids", Value::wrap(std::span(image_ids_), image_ids));
  run_.bind_input("txt_ids", Value::wrap(std::span(text_ids_), text_ids));
  run_.bind_output("velocity", Value::wrap(std::span(velocity_), hidden));
}

void DenoisePlan::load(std::span<DenoiseJob* const> jobs) {
  for (std::size_t row = 0; row < jobs.size(); ++row) {
    const DenoiseJob& job = *jobs[row];
    float* hidden = hidden_.data() + row * row_values_;
    std::ranges::copy(job.latents, hidden);
    Resident& resident = resident_[row];
    if (job.reference != nullptr && resident.reference != job.reference) {
      std::ranges::copy(job.reference->data, hidden + noise_values_);
      resident.reference = job.reference;
    }
    if (resident.text != job.text) {
      std::ranges::copy(job.text->data, text_.data() + row * text_values_);
      resident.text = job.text;
    }
    // The pipeline passes 1000 * sigma / 1000, rounded twice.
    const float scaled = job.sigmas[static_cast<std::size_t>(job.next_step)] * 1000.0F;
    timestep_[row] = scaled / 1000.0F;
  }
}

void DenoisePlan::advance(std::size_t row, const DenoiseJob& job, std::vector<float>& out) const {
  const auto step = static_cast<std::size_t>(job.next_step);
  const float delta = job.sigmas[step + 1] - job.sigmas[step];
  const float* velocity = velocity_.data() + row * row_values_;
  out.resize(noise_values_);
  for (std::size_t i = 0; i < noise_values_; ++i) {
    const float move = delta * velocity[i];
    out[i] = job.latents[i] + move;
  }
}

}  // namespace irt
