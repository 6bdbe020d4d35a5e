"""The domain of esap-batch: pure Python, no Airflow, no network."""

__version__ = "0.1.0"
