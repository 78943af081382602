"""The mixture: built from the sources, stored as parquet, selected for a run."""
