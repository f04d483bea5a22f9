"""Live metrics as a fold over signals: records of entities, buckets of time, and the snapshot made of them."""
